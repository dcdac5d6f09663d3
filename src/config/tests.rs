use super::*;

fn settings() -> EngineSettings {
    EngineSettings {
        metrics_port: 0,
        storage: StorageConfig { url: "s3://bucket/some/prefix".into(), ..StorageConfig::default() },
        cache_memory: 64 << 20,
        cache_disk: 0,
        result_cache: 0,
        cache_path: PathBuf::new(),
        engine_threads: 0,
        build_memory: 64 << 20,
        socket_path: "elacsym/engine.sock".into(),
        log_level: LogLevel::Info,
    }
}

#[test]
fn settings_survive_the_way_through_json() {
    let before = settings();
    let after = EngineSettings::from_json(&before.to_json().unwrap()).unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_setting_out_of_its_limits_is_named() {
    type Spoil = fn(&mut EngineSettings);
    let cases: [(&str, Spoil); 7] = [
        ("elacsym.cache_memory", |s| s.cache_memory = 0),
        ("elacsym.cache_disk", |s| s.cache_disk = 5),
        ("elacsym.cache_path", |s| s.cache_disk = MIN_CACHE_DISK_BYTES),
        ("elacsym.engine_threads", |s| s.engine_threads = 1_000_000),
        ("elacsym.build_memory", |s| s.build_memory = 1),
        ("socket path", |s| s.socket_path = "x".repeat(200).into()),
        ("elacsym.s3_endpoint", |s| s.storage.s3_endpoint = Some("localhost:9000".into())),
    ];
    for (name, spoil) in cases {
        let mut wrong = settings();
        spoil(&mut wrong);
        let error = wrong.validate().unwrap_err();
        assert!(error.message.contains(name), "{name}: {error}");
    }
    settings().validate().unwrap();
}

#[test]
fn an_endpoint_with_credentials_is_refused_without_repeating_them() {
    let mut wrong = settings();
    wrong.storage.s3_endpoint = Some("http://key:hunter2@host".into());
    assert!(!wrong.validate().unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn storage_urls_have_one_canonical_form() {
    for (url, canonical) in [
        ("file:///a/b", "file:///a/b"),
        ("file:///a//b/", "file:///a/b"),
        ("file:///a dir/%20", "file:///a dir/%20"),
        ("pgdata:elacsym", "pgdata:elacsym"),
        ("pgdata:a//b/", "pgdata:a/b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/p//q/", "s3://bucket/p/q"),
    ] {
        assert_eq!(StorageUrl::parse(url).unwrap().to_string(), canonical);
    }
    for url in [
        "",
        "/a",
        "file://a",
        "file:///",
        "file:///a/../b",
        "pgdata:",
        "pgdata:/a",
        "pgdata:a/../..",
        "s3://",
        "s3://b/../c",
        "s3://b c",
        "http://x/y",
        "s3:///p",
    ] {
        let error = StorageUrl::parse(url).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{url}");
        assert!(error.hint.is_some());
    }
}
