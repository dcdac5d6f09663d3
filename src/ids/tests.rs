use super::*;
use serde_json::json;

#[test]
fn keys_of_uuids_are_ordered_as_uuids_and_lead_back_to_them() {
    let uuids = [
        "00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-000000000001",
        "7fffffff-ffff-ffff-ffff-ffffffffffff",
        "80000000-0000-0000-0000-000000000000",
        "80000000-0000-0000-0000-000000000001",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ];
    let uuids: Vec<Uuid> = uuids.iter().map(|text| Uuid::parse(text).unwrap()).collect();
    assert!(uuids.is_sorted());
    assert!(uuids.windows(2).all(|pair| pair[0].key() < pair[1].key()));
    assert!(uuids.iter().all(|uuid| Uuid::of_key(uuid.key()) == *uuid));
    assert_eq!((uuids[0].key(), uuids[3].key(), uuids[5].key()), (Key::MIN, 0, Key::MAX));
}

#[test]
fn the_key_of_a_text_is_the_beginning_of_its_sha_256() {
    // FIPS 180-2: SHA-256 of "abc" begins with ba7816bf 8f01cfea 414140de 5dae2223.
    assert_eq!(text_key("abc").cast_unsigned(), 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223);
    assert_eq!(text_key("").cast_unsigned(), 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924);
    assert_ne!(text_key("a"), text_key("A"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Holder(#[serde(with = "json_key")] Key);

#[test]
fn a_key_in_json_is_a_number_while_64_bits_hold_it_and_then_its_digits() {
    for (key, json) in [
        (0, json!(0)),
        (-5, json!(-5)),
        (Key::from(i64::MAX), json!(i64::MAX)),
        (Key::from(i64::MIN), json!(i64::MIN)),
        (Key::from(i64::MAX) + 1, json!("9223372036854775808")),
        (Key::MIN, json!("-170141183460469231731687303715884105728")),
    ] {
        assert_eq!(serde_json::to_value(Holder(key)).unwrap(), json);
        assert_eq!(serde_json::from_str::<Holder>(&json.to_string()).unwrap(), Holder(key));
        let bytes = postcard::to_allocvec(&Holder(key)).unwrap();
        assert_eq!(postcard::from_bytes::<Holder>(&bytes).unwrap(), Holder(key));
    }
    assert!(serde_json::from_str::<Holder>("\"x\"").is_err());
    assert!(serde_json::from_str::<Holder>("1.5").is_err());
}

#[test]
fn a_small_key_is_encoded_as_the_64_bit_number_it_is() {
    for key in [0, 1, -1, 77, i64::MIN, i64::MAX] {
        assert_eq!(postcard::to_allocvec(&Key::from(key)).unwrap(), postcard::to_allocvec(&key).unwrap());
    }
}

#[test]
fn short_names_are_those_of_ulids_and_read_back() {
    let id = NamespaceId([1, 0x53, 0x54, 0xab, 0xcd, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xff]);
    for id in [id, NamespaceId([0; 16]), NamespaceId([0xff; 16])] {
        let short = id.short();
        assert_eq!(short.len(), 26);
        assert_eq!(NamespaceId::parse_short(&short), Some(id));
        assert_eq!(NamespaceId::parse_short(&short.to_lowercase()).is_some(), short == short.to_lowercase());
    }
    // Of the ULID specification's own example, whose first ten characters are the time 1469922850259.
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&1_469_922_850_259_u64.to_be_bytes()[2..]);
    assert_eq!(&NamespaceId(bytes).short()[..10], "01ARZ3NDEK");
    for wrong in ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU"] {
        assert_eq!(NamespaceId::parse_short(wrong), None, "{wrong}");
    }
}
