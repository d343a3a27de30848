//! The walker against `serde_json`.

use super::*;
use proptest::prelude::*;

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a-c\"\\\\é\n]{0,4}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn pointer() -> impl Strategy<Value = Pointer> {
    prop::collection::vec("[a-c0-2]", 0..4).prop_map(|tokens| {
        let text: String = tokens.iter().map(|token| format!("/{token}")).collect();
        Pointer::parse(&text).unwrap()
    })
}

proptest! {
    #[test]
    fn every_pointer_finds_its_value(
        records in prop::collection::vec(json(), 0..4),
        pointers in prop::collection::vec(pointer(), 1..6),
    ) {
        let mut walker = Walker::default();
        let slots: Vec<usize> = pointers.iter().map(|pointer| walker.add(pointer)).collect();
        let text = serde_json::to_string_pretty(&records).unwrap();
        let mut seen = 0;
        walker.page(&text, |index, values| {
            seen += 1;
            for (pointer, slot) in pointers.iter().zip(&slots) {
                let found = values[*slot].map(|raw| serde_json::from_str::<serde_json::Value>(raw).unwrap());
                let wanted = pointer.find(&records[usize::try_from(index).unwrap()]);
                assert_eq!(found.as_ref(), wanted, "{pointer} in {text}");
            }
        }).unwrap();
        prop_assert_eq!(seen, records.len());
    }

    #[test]
    fn absent_key_differs_from_null(records in prop::collection::vec(json(), 0..4), pointer in pointer()) {
        let mut walker = Walker::default();
        let place = walker.place(&pointer);
        let text = serde_json::to_string(&records).unwrap();
        walker.page(&text, |index, slots| {
            let record = &records[usize::try_from(index).unwrap()];
            // The value in which the first step without a target starts.
            let mut holder = record;
            let missing = pointer.tokens().iter().find(|token| {
                let inner = Pointer::parse(&format!("/{token}")).unwrap().find(holder);
                holder = inner.unwrap_or(holder);
                inner.is_none()
            });
            let is_absent = missing.is_some() && holder.is_object();
            assert_eq!(place.is_absent(slots), is_absent, "{pointer} in {text}");
            assert_eq!(place.is_there(slots), missing.is_none());
        }).unwrap();
    }

    #[test]
    fn any_text_that_is_a_list_is_walked(text in "\\[[\\[\\]{}\",:a0-9 \\\\]{0,8}\\]|[\\[\\]{}\",:a0-9 \\\\]{0,40}") {
        let mut walker = Walker::default();
        walker.add(&Pointer::key("a"));
        let mut records = 0;
        let walked = walker.page(&text, |_, _| records += 1);
        if let Ok(list) = serde_json::from_str::<Vec<serde_json::Value>>(&text) {
            prop_assert!(walked.is_ok());
            prop_assert_eq!(records, list.len());
        }
    }
}
