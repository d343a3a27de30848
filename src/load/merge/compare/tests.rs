use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::document::is_same_document;
use crate::database::testing;
use crate::load::cell::tests::document;

#[tokio::test]
async fn documents_judged_the_same_are_the_same_to_postgresql() {
    let mut runner = TestRunner::deterministic();
    let documents: Vec<String> = (0..300)
        .map(|_| document().new_tree(&mut runner).unwrap().current())
        .collect();
    let client = testing::database().await;
    let print = "SELECT text::jsonb::text FROM unnest($1::text[]) WITH ORDINALITY AS t (text, place) ORDER BY place";
    let rows = client.query(print, &[&documents]).await.unwrap();
    let printed: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut recognised = 0;
    for (place, text) in documents.iter().enumerate() {
        for (other, print) in printed.iter().enumerate() {
            if is_same_document(text.as_bytes(), print.as_bytes()) {
                assert_eq!(printed[place], *print, "{text}");
                recognised += usize::from(place == other);
            }
        }
    }
    // All but keys that are escaped or there twice, exponents, and the minus of zero.
    assert!(recognised > 200, "{recognised}");
}
