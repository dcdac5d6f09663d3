use super::*;

fn page(byte: u8) -> Arc<Page> {
    Arc::new(Page::new(Bytes::from(vec![byte; 4]), true))
}

#[test]
fn a_page_is_found_as_long_as_somebody_holds_it() {
    let table = PageTable::new(2);
    assert!(table.get(0).is_none(), "nothing is known yet");
    let held = page(7);
    table.put(0, &held);
    assert_eq!(table.get(0).unwrap().0.bytes, held.bytes);
    assert!(table.get(1).is_none());
    drop(held);
    assert!(table.get(0).is_none(), "the table owns nothing");
    let again = page(8);
    table.put(0, &again);
    assert_eq!(table.get(0).unwrap().0.bytes, again.bytes);
}

#[test]
fn a_page_beyond_the_object_is_not_found() {
    for pages in [0, 1, PAGES_PER_LOCK, PAGES_PER_LOCK + 1] {
        let table = PageTable::new(pages);
        let beyond = u32::try_from(pages).unwrap();
        let held = page(1);
        table.put(beyond, &held);
        assert!(table.get(beyond).is_none());
        if let Some(last) = beyond.checked_sub(1) {
            table.put(last, &held);
            assert!(table.get(last).is_some());
        }
    }
}

#[test]
fn the_cache_is_told_of_some_of_the_questions() {
    let table = PageTable::new(1);
    let held = page(1);
    table.put(0, &held);
    let told = (0..4 * usize::from(TOLD)).filter(|_| table.get(0).unwrap().1).count();
    assert_eq!(told, 4);
}
