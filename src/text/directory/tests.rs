use super::*;
use crate::error::ErrorKind;

fn file(len: usize) -> BundleDirectory {
    let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
    let hot = HotFile { name: "idx".into(), len: len as u64, slices: vec![(5, OwnedBytes::new(vec![5, 6, 7, 8]))] };
    BundleDirectory::new("x", vec![("idx".into(), len as u64, Arc::new(bytes))], &[hot]).unwrap()
}

fn read(directory: &BundleDirectory, range: Range<usize>) -> io::Result<Vec<u8>> {
    directory.get_file_handle(Path::new("abc.idx")).unwrap().read_bytes(range).map(|bytes| bytes.to_vec())
}

#[test]
fn hot_ranges_are_not_read() {
    let directory = file(100);
    assert_eq!(read(&directory, 6..8).unwrap(), [6, 7]);
    assert!(read(&directory, 3..3).unwrap().is_empty());
    assert_eq!(directory.cold_bytes("idx"), 0);
    assert_eq!(read(&directory, 8..10).unwrap(), [8, 9]);
    assert_eq!(directory.cold_bytes("idx"), 2);
}

#[test]
fn planned_ranges_are_merged_and_read_once() {
    let directory = file(100_000);
    let planned = plan(|| {
        assert!(planning());
        for range in [50..60, 10..20, 70_000..70_010, 5..9] {
            drop(read(&directory, range));
        }
    });
    assert!(!planning());
    let expected = [10..60, 70_000..70_010].map(|range| PlannedRead { file: 0, range });
    assert_eq!(planned, expected);
    assert_eq!(directory.cold_bytes("idx"), 0);
    let sum = directory.with_reads(planned, || {
        let ranges = [12..14, 58..60, 70_000..70_010, 30..31];
        Ok(ranges.into_iter().map(|range| read(&directory, range).unwrap().len()).sum::<usize>())
    });
    assert_eq!(sum.unwrap(), 15);
    assert_eq!(directory.cold_bytes("idx"), 60);
    read(&directory, 12..14).unwrap();
    assert_eq!(directory.cold_bytes("idx"), 62, "the overlay is gone");
}

#[test]
fn a_panic_while_planning_does_not_leave_the_thread_planning() {
    let panicked = std::panic::catch_unwind(|| plan(|| panic!("on purpose")));
    assert!(panicked.is_err() && !planning());
}

#[derive(Debug)]
struct Failing(Error);

impl RangeRead for Failing {
    fn read(&self, _range: Range<u64>) -> Result<Vec<u8>> {
        Err(self.0.clone())
    }
}

#[test]
fn errors_of_the_reader_come_out_unchanged() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Cancelled, ErrorKind::Corrupt] {
        let error = Error::new(kind, "the reason").with_hint("the hint");
        let files = vec![("meta.json".to_string(), 10, Arc::new(Failing(error.clone())) as Arc<dyn RangeRead>)];
        let directory = BundleDirectory::new("x", files, &[]).unwrap();
        let failed = tantivy::Index::open(directory).unwrap_err();
        assert_eq!(from_tantivy("x", failed), error);
    }
}

#[test]
fn a_reader_that_gives_too_little_is_corrupt() {
    let files = vec![("idx".to_string(), 10, Arc::new(vec![0_u8; 10]) as Arc<dyn RangeRead>)];
    let directory = BundleDirectory::new("x", files, &[]).unwrap();
    let error = read(&directory, 5..11).unwrap_err();
    assert_eq!(from_io("x", &error).kind, ErrorKind::Corrupt);
}

#[test]
fn a_bundle_is_read_only() {
    let directory = file(10);
    assert!(directory.open_write(Path::new("a.idx")).is_err());
    assert!(directory.atomic_write(Path::new("meta.json"), b"").is_err());
    assert!(directory.delete(Path::new("a.idx")).is_err());
    assert!(!directory.exists(Path::new(".managed.json")).unwrap());
}
