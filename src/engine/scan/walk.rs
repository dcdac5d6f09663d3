//! Sets of rows of a view, and walking over one.

use roaring::RoaringBitmap;

use crate::engine::arms::Hit;

/// Rows of each segment, and places of buffered documents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// By place of the segment in the view.
    pub segments: Vec<RoaringBitmap>,
    /// Places in the view's buffered documents.
    pub buffered: RoaringBitmap,
}

impl Rows {
    /// None, of that many segments.
    pub fn new(segments: usize) -> Self {
        Self { segments: vec![RoaringBitmap::new(); segments], buffered: RoaringBitmap::new() }
    }

    /// Those that are in `other`, and those that are not.
    pub fn split(self, other: &Self) -> (Self, Self) {
        let mut inside =
            Self { segments: Vec::with_capacity(self.segments.len()), buffered: &self.buffered & &other.buffered };
        let mut outside = self;
        outside.buffered -= &other.buffered;
        for (rows, others) in outside.segments.iter_mut().zip(&other.segments) {
            inside.segments.push(&*rows & others);
            *rows -= others;
        }
        (inside, outside)
    }
}

/// Returns rows in the order of their places, all with the same value.
#[derive(Debug)]
pub struct Walk {
    left: Rows,
    /// Of every row.
    pub value: Option<f32>,
}

impl Walk {
    /// A walk over these rows.
    pub fn new(rows: Rows, value: Option<f32>) -> Self {
        Self { left: rows, value }
    }

    /// Whether no row is left.
    pub fn is_empty(&self) -> bool {
        self.left.buffered.is_empty() && self.left.segments.iter().all(RoaringBitmap::is_empty)
    }

    /// The next rows, at most that many.
    pub fn take(&mut self, count: usize) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (place, rows) in self.left.segments.iter_mut().enumerate() {
            let taken = take_smallest(rows, count - hits.len());
            hits.extend(taken.into_iter().map(|ordinal| Hit::Row(place, ordinal)));
        }
        let taken = take_smallest(&mut self.left.buffered, count - hits.len());
        hits.extend(taken.into_iter().map(|place| Hit::Buffered(place as usize)));
        hits
    }
}

fn take_smallest(rows: &mut RoaringBitmap, count: usize) -> Vec<u32> {
    let taken: Vec<u32> = rows.iter().take(count).collect();
    if let Some(last) = taken.last() {
        rows.remove_range(..=*last);
    }
    taken
}
