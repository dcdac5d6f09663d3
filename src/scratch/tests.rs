use super::*;

#[test]
fn what_is_written_is_read_back_at_random_and_in_pieces() {
    let scratch = Scratch::new(None);
    let mut writer = scratch.writer().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    bytes.chunks(77_777).for_each(|part| writer.put(part).unwrap());
    assert_eq!(writer.len(), 3_000_000);
    let file = writer.finish().unwrap();
    assert!(file.read(0..3_000_000).unwrap() == bytes);
    assert_eq!(file.read(1_000..1_003).unwrap(), bytes[1_000..1_003]);
    assert_eq!(file.read(2_999_999..3_000_001).unwrap_err().kind, ErrorKind::Internal);
    let mut copy = Vec::new();
    file.copy_to(&mut copy).unwrap();
    assert!(copy == bytes);
    assert_eq!(scratch.written(), 3_000_000);
}

#[test]
fn nobody_reads_or_writes_once_the_check_says_no() {
    let scratch = Scratch::new(None);
    let mut before = scratch.writer().unwrap();
    before.put(b"abc").unwrap();
    let file = before.finish().unwrap();
    scratch.set_check(Some(Arc::new(|| Err(Error::new(ErrorKind::Cancelled, "enough")))));
    assert_eq!(file.read(0..1).unwrap_err().kind, ErrorKind::Cancelled);
    let mut writer = scratch.writer().unwrap();
    // Into its buffer, perhaps.
    let put = writer.put(&[1; 10]);
    assert_eq!(put.and_then(|()| writer.finish()).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(scratch.failure().unwrap().kind, ErrorKind::Cancelled);
    scratch.set_check(None);
    assert_eq!(file.read(0..1).unwrap(), b"a");
}

#[test]
fn a_directory_is_made_and_one_that_cannot_be_is_named() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("a/b");
    let mut writer = Scratch::new(Some(directory.clone())).writer().unwrap();
    writer.put(b"x").unwrap();
    let file = writer.finish().unwrap();
    assert_eq!((file.read(0..1).unwrap(), std::fs::read_dir(&directory).unwrap().count()), (b"x".to_vec(), 0));
    let error = Scratch::new(Some("/proc/none".into())).file().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("/proc/none"), "{error}");
}

#[test]
fn inv_5_a_full_disk_is_told_as_what_it_is() {
    let scratch = Scratch::new(None);
    let full = || File::options().read(true).write(true).open("/dev/full").unwrap();
    let error = scratch.write_at(&full(), b"x", 0).unwrap_err();
    assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Exhausted, true), "{error}");
    let target = Target { file: full(), scratch: scratch.clone() };
    let mut writer = ScratchWriter { to: BufWriter::with_capacity(BUFFER_BYTES, target), len: 0 };
    writer.put(b"x").unwrap();
    let error = writer.finish().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted);
    assert!(error.message.contains("No space left on device"), "{error}");
    assert_eq!(scratch.failure().unwrap(), error);
}

#[test]
fn whether_there_is_room_is_known_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("made");
    let scratch = Scratch::new(Some(directory.clone()));
    scratch.look_for_room(1).unwrap();
    let error = scratch.look_for_room(u64::MAX).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted);
    let named = format!("{} bytes on the local disk in \"{}\", where ", u64::MAX, directory.display());
    assert!(error.message.contains(&named) && error.hint.unwrap().contains("elacsym.cache_path"), "{}", error.message);
    assert_eq!(scratch.failure(), None, "it is not the failure of a file");
    assert_eq!(Scratch::new(Some("/proc/none".into())).look_for_room(1).unwrap_err().kind, ErrorKind::Unavailable);
}
