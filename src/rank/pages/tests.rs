use super::*;
use crate::document::Value;
use crate::rank::fusion::Method;
use crate::vector::Metric;
use proptest::prelude::*;

/// The whole list as its definition says, with everything known.
fn naive(lists: &[Vec<(i64, f32)>], plan: &Plan, facts: &dyn Fn(i64) -> Facts) -> Vec<(i64, f32)> {
    let mut list: Vec<(i64, f32)> = Vec::new();
    let mut depth = plan.depth;
    loop {
        let arms: Vec<Arm<i64>> = lists
            .iter()
            .zip(&plan.arms)
            .map(|(hits, (kind, weight))| Arm {
                kind: *kind,
                weight: *weight,
                hits: hits.iter().take(depth).copied().collect(),
            })
            .collect();
        let mut block: Vec<(i64, f32)> = fuse(&arms, plan.fusion)
            .into_iter()
            .filter(|row| list.iter().all(|(known, _)| *known != row.id))
            .map(|row| {
                let own =
                    arms[0].hits.iter().find(|(id, _)| *id == row.id).map(|(_, value)| plan.arms[0].0.score(*value));
                let plain = plan.arms.len() == 1 && !plan.modified;
                (row.id, if plain { own.unwrap() } else { (row.score * facts(row.id).factor) as f32 })
            })
            .collect();
        block.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        list.extend(block);
        if lists.iter().all(|hits| hits.len() <= depth) {
            break;
        }
        depth *= 2;
    }
    let mut held: HashMap<Option<Group>, u32> = HashMap::new();
    list.retain(|(id, _)| {
        let held = held.entry(facts(*id).group).or_insert(0);
        *held += 1;
        plan.per.is_none_or(|per| *held <= per)
    });
    list
}

fn page(lists: &[Vec<(i64, f32)>], plan: &Plan, facts: &dyn Fn(i64) -> Facts) -> Vec<(i64, f32)> {
    let mut ranking = Ranking::new(plan.clone());
    while let Some(depth) = ranking.depth() {
        let best: Vec<Vec<(i64, f32)>> = lists.iter().map(|hits| hits.iter().take(depth).copied().collect()).collect();
        let more = best.iter().any(|hits| hits.len() >= depth);
        let block = ranking.block(best, more);
        ranking.add(block, |id| Ok(facts(*id))).unwrap();
    }
    ranking.finish().into_iter().map(|row| (row.id, row.score)).collect()
}

/// Whether it is of vectors, its weight, and its rows.
type List = (bool, f32, Vec<(i64, f32)>);

/// Distinct ids in some order, with values that fall or rise as the kind of the arm wants, ties included.
fn arms() -> impl Strategy<Value = Vec<List>> {
    let ids = Just((0_i64..40).collect::<Vec<_>>()).prop_shuffle();
    let arm = (any::<bool>(), 0.1_f32..2.0, ids, 0_usize..40, proptest::collection::vec(0_u8..6, 40)).prop_map(
        |(is_vector, weight, ids, count, mut values)| {
            values.sort_unstable();
            let sign = if is_vector { 1.0 } else { -1.0 };
            let value = |at: usize| if is_vector { f32::from(values[at]) } else { 10.0 + sign * f32::from(values[at]) };
            let mut hits: Vec<(i64, f32)> =
                ids.into_iter().take(count).enumerate().map(|(at, id)| (id, value(at))).collect();
            // Ties go by id, as in every arm.
            hits.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)).then(a.0.cmp(&b.0)));
            (is_vector, weight, hits)
        },
    );
    proptest::collection::vec(arm, 1..4)
}

fn facts(id: i64) -> Facts {
    Facts {
        factor: [1.0, 0.5, 2.0, 0.0][(id % 4) as usize],
        group: (id % 5 != 0).then(|| Group::of(&Value::Int(id % 7))),
    }
}

proptest! {
    /// INV-7: pages of any size are slices of one list, which is the one of the definition.
    #[test]
    fn inv_7_pages_never_overlap_or_skip_or_end_early(
        arms in arms(),
        method in prop_oneof![Just(Method::Rrf), Just(Method::MinMax), Just(Method::Distribution)],
        modified in any::<bool>(),
        per in proptest::option::of(1_u32..4),
        depth in 1_usize..12,
        count in 1_usize..15,
    ) {
        let kind = |is_vector: bool| if is_vector { ArmKind::Vector(Metric::L2) } else { ArmKind::Text };
        let plan = Plan {
            arms: arms.iter().map(|(is_vector, weight, _)| (kind(*is_vector), *weight)).collect(),
            fusion: Fusion { method, rrf_k: 60 },
            modified,
            per,
            depth,
            offset: 0,
            count,
        };
        let lists: Vec<Vec<(i64, f32)>> = arms.into_iter().map(|(_, _, hits)| hits).collect();
        let whole = naive(&lists, &plan, &facts);
        let mut offset = 0;
        loop {
            let found = page(&lists, &Plan { offset, ..plan.clone() }, &facts);
            let expected: Vec<(i64, f32)> = whole.iter().skip(offset).take(count).copied().collect();
            prop_assert_eq!(&found, &expected, "offset {}", offset);
            if found.is_empty() {
                break;
            }
            offset += count;
        }
    }
}

#[test]
fn the_best_place_of_a_kind_is_that_of_its_lowest_rank() {
    let plan = Plan {
        arms: vec![(ArmKind::Text, 1.0), (ArmKind::Vector(Metric::L2), 1.0), (ArmKind::Text, 1.0)],
        fusion: Fusion::default(),
        modified: false,
        per: None,
        depth: 10,
        offset: 0,
        count: 10,
    };
    let place = |rank, value| Some(Place { rank, value });
    let row = Ranked { id: 1, score: 0.0, places: vec![place(4, 7.0), None, place(2, 5.0)] };
    assert_eq!(row.text_place(&plan), place(2, 5.0));
    assert_eq!(row.vector_place(&plan), None);
}

#[test]
fn a_page_that_the_greatest_depth_does_not_fill_is_an_error() {
    let plan = Plan {
        arms: vec![(ArmKind::Text, 1.0)],
        fusion: Fusion::default(),
        modified: false,
        per: Some(1),
        depth: MAX_REPLY_ROWS,
        offset: 0,
        count: 2,
    };
    let mut ranking = Ranking::new(plan);
    assert_eq!(ranking.depth(), Some(MAX_REPLY_ROWS));
    let block = ranking.block(vec![vec![(1, 2.0), (2, 1.0)]], true);
    let error = ranking.add(block, |_| Ok(Facts::default())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted);
}

#[test]
fn nothing_is_asked_for_an_empty_page() {
    let plan = Plan {
        arms: vec![(ArmKind::Text, 1.0)],
        fusion: Fusion::default(),
        modified: false,
        per: None,
        depth: 10,
        offset: 5,
        count: 0,
    };
    let ranking: Ranking<i64> = Ranking::new(plan);
    assert_eq!(ranking.depth(), None);
    assert!(ranking.finish().is_empty());
}
