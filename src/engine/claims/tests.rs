use super::*;

const CLUSTER: NamespaceId = NamespaceId([7; 16]);

#[test]
fn the_name_survives_a_restart_and_is_not_copied() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::system();
    let at = |directory: &Path| Claims::new(&directory.join("engine.sock"), &env).instance();
    let first = at(directory.path());
    assert_eq!(at(directory.path()), first);
    // A copy of the files: another file of the same content.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join(FILE), copy.path().join(FILE)).unwrap();
    let second = at(copy.path());
    assert_ne!(second, first);
    assert_eq!(at(copy.path()), second);
    assert_eq!(at(directory.path()), first);
    let missing = directory.path().join("made/by/the/first");
    assert_eq!(at(&missing), at(&missing));
    // Damaged, or a directory that takes no file.
    fs::write(directory.path().join(FILE), "x").unwrap();
    assert_ne!(at(directory.path()), first);
    let nowhere = directory.path().join(FILE).join("below");
    assert_ne!(at(&nowhere), at(&nowhere));
    let server = Server { instance: first, valid_seconds: 3 };
    assert_eq!(Server::parse(CLUSTER, &server.key(CLUSTER)), Some(server));
}
