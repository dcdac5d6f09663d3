use super::*;
use crate::cache::page_crcs;

#[test]
fn checksums_are_those_of_the_whole_object_however_it_is_written() {
    let bytes: Vec<u8> = (0..3 * PAGE_BYTES + 5).map(|i| (i * i % 251) as u8).collect();
    for len in [0, 1, PAGE_BYTES, PAGE_BYTES + 1, 2 * PAGE_BYTES, bytes.len()] {
        for piece in [1_000, PAGE_BYTES, 50_000] {
            let mut writer = PagedWriter::new(Vec::new());
            bytes[..len].chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
            assert_eq!(writer.len(), len as u64);
            let (written, crcs) = writer.finish();
            assert!(written == bytes[..len] && crcs == page_crcs(&bytes[..len]), "{len} bytes by {piece}");
        }
    }
}
