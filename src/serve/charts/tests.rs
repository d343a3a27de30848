use std::collections::BTreeSet;

use maud::Markup;
use proptest::prelude::*;

use super::*;

const CHART: Chart<'_> = Chart {
    id: "x",
    title: "Levels",
    unit: "students",
    caption: "A sentence.",
};

fn bar(label: &str, value: f64) -> Bar {
    Bar {
        label: label.to_owned(),
        value,
        ..Bar::default()
    }
}

fn column(label: &str, value: f64) -> Column {
    Column {
        label: label.to_owned(),
        value,
        ..Column::default()
    }
}

/// One element a line.
fn lines(markup: &Markup) -> String {
    markup.0.replace('<', "\n<").replace("\n</", "</")
}

fn tone_number(tone: Tone) -> usize {
    tone.name().len()
}

/// Every picture of one text in all its places.
fn pictures(text: &str, value: f64) -> Vec<Markup> {
    let some = || Some(text.to_owned());
    let chart = Chart {
        id: "x",
        title: text,
        unit: text,
        caption: text,
    };
    let tones = [
        Tone::Plain,
        Tone::Ok,
        Tone::Warning,
        Tone::Failed,
        Tone::None,
    ];
    let bar = |tone| Bar {
        label: text.to_owned(),
        value,
        text: some(),
        note: some(),
        tone,
        colour: some(),
        link: some(),
    };
    let column = |tone| Column {
        label: text.to_owned(),
        value,
        text: some(),
        tone,
    };
    let square = |tone| Square {
        label: text.to_owned(),
        text: text.to_owned(),
        tone,
        count: 7,
        link: some(),
    };
    let figure = |tone| Figure {
        label: text.to_owned(),
        value,
        text: some(),
        note: some(),
        tone,
        link: some(),
    };
    let cells = vec![
        TableCell::Text {
            text: text.to_owned(),
            link: some(),
        },
        TableCell::Number(value),
        TableCell::State(text.to_owned(), Tone::Failed),
    ];
    let line = Line {
        label: text.to_owned(),
        value,
    };
    let seat = |tone| Seat {
        zone: text.to_owned(),
        row: text.to_owned(),
        place: format!("{text}{}", tone_number(tone)),
        label: text.to_owned(),
        text: some(),
        note: some(),
        tone,
    };
    let heat_cell = HeatCell {
        row: text.to_owned(),
        column: text.to_owned(),
        value,
    };
    let entry = |tone| AgendaEntry {
        label: text.to_owned(),
        text: some(),
        place: some(),
        note: some(),
        tone,
        link: some(),
        ..AgendaEntry::default()
    };
    vec![
        map(&chart, &tones.map(seat)),
        heat(&chart, &[heat_cell]),
        agenda(&chart, &tones.map(entry)),
        bars(&chart, &tones.map(bar)),
        columns(&chart, &tones.map(column), &[line]),
        squares(&chart, &tones.map(square)),
        figures(&chart, &tones.map(figure)),
        table(&chart, &[text.to_owned(), text.to_owned()], &[cells]),
        message(&chart, Tone::Warning, text),
    ]
}

#[test]
fn bars_are_a_table_with_the_numbers() {
    let all = [
        bar("ongoing", 1234.0),
        Bar {
            text: Some("3 h".to_owned()),
            note: Some("of 1 h".to_owned()),
            tone: Tone::Failed,
            link: Some("/runs".to_owned()),
            ..bar("late", -617.0)
        },
        Bar {
            colour: Some(" A061D1".to_owned()),
            ..bar("of a colour", f64::NAN)
        },
    ];
    insta::assert_snapshot!(lines(&bars(&CHART, &all)));
}

#[test]
fn columns_have_ticks_lines_and_a_table() {
    let all = [
        column("0", 3.0),
        Column {
            tone: Tone::Warning,
            ..column("1", 40.0)
        },
    ];
    let limit = Line {
        label: "limit".to_owned(),
        value: 45.0,
    };
    insta::assert_snapshot!(lines(&columns(&CHART, &all, &[limit])));
}

#[test]
fn squares_say_in_words_how_a_day_went() {
    let square = |tone, count, link: Option<&str>| Square {
        label: "30".to_owned(),
        text: "30 November: 2 runs".to_owned(),
        tone,
        count,
        link: link.map(str::to_owned),
    };
    let all = [
        square(Tone::Ok, 1, Some("/runs/a")),
        square(Tone::Failed, 2, Some("javascript:alert(1)")),
        square(Tone::None, 0, None),
    ];
    insta::assert_snapshot!(lines(&squares(&CHART, &all)));
}

#[test]
fn figures_and_tables_show_what_is_missing() {
    let figure = Figure {
        label: "students".to_owned(),
        value: f64::NAN,
        note: Some("since yesterday".to_owned()),
        ..Figure::default()
    };
    let row = vec![
        TableCell::Text {
            text: String::new(),
            link: Some("/runs".to_owned()),
        },
        TableCell::Number(80.0),
    ];
    let names = ["student", "mark", "when"].map(str::to_owned);
    let shown = [
        lines(&figures(&CHART, &[figure])),
        lines(&table(&CHART, &names, &[row])),
    ];
    insta::assert_snapshot!(shown.concat());
}

#[test]
fn without_data_a_picture_is_a_sentence() {
    for markup in [
        bars(&CHART, &[]),
        columns(&CHART, &[], &[]),
        squares(&CHART, &[]),
        figures(&CHART, &[]),
        table(&CHART, &["x".to_owned()], &[]),
    ] {
        assert!(markup.0.contains(NOTHING), "{}", markup.0);
        assert!(!markup.0.contains("<svg"), "{}", markup.0);
    }
}

#[test]
fn many_and_long_labels_take_bounded_room() {
    let long = "x".repeat(10_000);
    let many: Vec<Column> = (0..2_000).map(|_| column(&long, 1e9)).collect();
    let few: Vec<Column> = (0..500)
        .map(|number| column(&number.to_string(), f64::from(number)))
        .collect();
    let drawn = columns(&CHART, &few, &[]).0;
    assert!(drawn.len() < 60_000, "{}", drawn.len());
    assert_eq!(drawn.matches("<rect").count(), 500);
    let labels = drawn.split("class=\"labels\"").nth(1).unwrap();
    let labels = labels.split("</svg>").next().unwrap();
    assert!((4..=20).contains(&labels.matches("<text").count()));
    let cut = columns(&CHART, &many, &[]).0;
    assert!(cut.contains("the first 500 of 2,000 are shown"));
    for markup in pictures(&long, f64::MAX) {
        assert!(markup.0.len() < 10_000, "{}", markup.0.len());
    }
}

#[test]
fn numbers_are_grouped_and_short() {
    let texts = [
        (0.0, "0"),
        (-0.0, "0"),
        (1_234_567.0, "1,234,567"),
        (-1_234.56, "-1,235"),
        (12.5, "12.5"),
        (0.004, "0.004"),
        (-0.000_001, "0"),
        (1.5e18, "1.5e18"),
        (f64::NAN, "–"),
        (f64::NEG_INFINITY, "-∞"),
    ];
    for (value, text) in texts {
        assert_eq!(figure_text(value), text);
    }
}

/// Whether nothing in it is anything but our own elements, attributes and paths.
fn is_inert(markup: &str) -> bool {
    const ELEMENTS: &str = "a bdi dd details div dl dt figcaption figure h2 h3 li line ol p path rect section small span strong summary \
        svg table tbody td text th thead title tr ul";
    let opened = markup.split('<').skip(1).all(|rest| {
        let name: String = (rest.trim_start_matches('/').chars())
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        ELEMENTS.split_whitespace().any(|known| known == name)
    });
    // No tag has an attribute that runs or loads anything, and no link leads out of the site.
    let tags = markup.split('<').filter_map(|rest| rest.split_once('>'));
    let calm = tags.clone().all(|(tag, _)| {
        let outside: String = (tag.split('"').step_by(2)).collect();
        !outside.contains(" on") && !outside.contains(" style=") && !outside.contains(" src=")
    });
    let leads = markup
        .split("href=\"")
        .skip(1)
        .all(|rest| rest.starts_with('/') && !rest.starts_with("//") && !rest.starts_with("/\\"));
    let is_control =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    opened && calm && leads && !markup.contains(is_control)
}

#[test]
fn hostile_texts_are_text() {
    for text in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></svg><script>alert(1)</script>",
        "\u{202e}txt.exe",
        "javascript:alert(1)",
        "//evil.example/x",
        "/\\evil.example/x",
        "/ok\" onclick=\"alert(1)",
        "#fff\"/><script>alert(1)</script>",
        "&lt;b&gt;",
        "a\u{0}\u{7}\r\nb",
    ] {
        for markup in pictures(text, 3.0) {
            assert!(is_inert(&markup.0), "{text}: {}", markup.0);
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_drawn_is_inert(text in "\\PC{0,40}|[<>\"'&/\\\\ a-z=:]{0,40}", value: f64) {
        for markup in pictures(&text, value) {
            prop_assert!(is_inert(&markup.0), "{}", markup.0);
            prop_assert!(!markup.0.contains("NaN") || text.contains("NaN"), "{}", markup.0);
        }
    }
}

fn seat(zone: &str, row: &str, seat: &str, text: Option<&str>) -> Seat {
    Seat {
        zone: zone.to_owned(),
        row: row.to_owned(),
        place: seat.to_owned(),
        label: format!("{zone}{row}{seat}"),
        text: text.map(str::to_owned),
        ..Seat::default()
    }
}

#[test]
fn a_map_has_seats_in_rows_and_counts_what_is_taken() {
    let seats = [
        seat("c1", "r1", "s1", Some("jdoe")),
        seat("c1", "r1", "s10", None),
        seat("c1", "r2", "s2", Some("<b>")),
        seat("lab", "", "printer", None),
    ];
    insta::assert_snapshot!(lines(&map(&CHART, &seats)));
}

#[test]
fn a_place_that_is_named_twice_is_one() {
    let seats = [
        seat("c1", "r1", "s1", None),
        seat("c1", "r1", "s1", Some("jdoe")),
        seat("c1", "r1", "s1", None),
        seat("c1", "r1", "s2", None),
    ];
    let map = map(&CHART, &seats).0;
    assert!(map.contains("1 of 2 taken"), "{map}");
    assert_eq!(map.matches("jdoe").count(), 2, "{map}");
}

#[test]
fn a_map_of_any_size_and_shape_is_bounded() {
    let hostile = "\"".repeat(300);
    let shapes: [fn(usize) -> (usize, usize); 4] = [
        |n| (0, n),
        |n| (n, 0),
        |n| (n % 40, n % 39),
        |n| (n / 30, n % 7),
    ];
    for shape in shapes {
        for zones in [1, 7, 2000] {
            let seats: Vec<Seat> = (0..2000)
                .map(|n| {
                    let (row, column) = shape(n);
                    let zone = format!("{}{hostile}", n % zones);
                    seat(
                        &zone,
                        &format!("r{row}"),
                        &format!("s{column}"),
                        Some(&hostile),
                    )
                })
                .collect();
            let markup = map(&CHART, &seats).0;
            assert!(markup.len() < 48_000, "{zones}: {}", markup.len());
            // What is not drawn is counted, each place once.
            let places = seats.iter().map(|it| (&it.zone, &it.row, &it.place));
            let places = places.collect::<BTreeSet<_>>().len();
            let drawn = markup.matches("<td class=\"t\"").count();
            let more = format!(
                "and {} more places",
                crate::convert::grouped((places - drawn) as u64)
            );
            assert_eq!(markup.contains(&more), places > drawn, "{more}");
        }
    }
}

#[test]
fn a_heat_map_shades_by_the_highest() {
    let cell = |row: &str, column: &str, value| HeatCell {
        row: row.to_owned(),
        column: column.to_owned(),
        value,
    };
    let cells = [
        cell("Mon", "0", 0.0),
        cell("Mon", "1", 1.0),
        cell("Tue", "0", 7000.0),
        cell("Tue", "1", f64::NAN),
    ];
    insta::assert_snapshot!(lines(&heat(&CHART, &cells)));
    let many: Vec<HeatCell> = (0..1000)
        .map(|n| cell(&"\"".repeat(50), &format!("{n}{}", "<".repeat(50)), 1.0))
        .collect();
    let markup = heat(&CHART, &many).0;
    assert!(
        markup.contains("the first 1 of 1 rows and 48 of 1000 columns"),
        "{markup}"
    );
}

#[test]
fn an_agenda_has_a_heading_for_each_day() {
    let entry = |day: i8, hour: i8, end: Option<i8>| AgendaEntry {
        begin: jiff::civil::date(2026, 12, day).at(hour, 30, 0, 0),
        end: end.map(|day| jiff::civil::date(2026, 12, day).at(23, 0, 0, 0)),
        label: "Exam".to_owned(),
        place: Some("c1".to_owned()),
        ..AgendaEntry::default()
    };
    let entries = [
        entry(1, 9, Some(1)),
        entry(1, 10, None),
        entry(2, 9, Some(4)),
    ];
    insta::assert_snapshot!(lines(&agenda(&CHART, &entries)));
    let many = vec![entry(1, 9, None); 5000];
    let markup = agenda(&CHART, &many).0;
    let drawn = markup.matches("class=\"time\"").count() as u64;
    assert!(markup.contains(&format!(
        "and {} more<",
        crate::convert::grouped(5000 - drawn)
    )));
    assert!(markup.len() < 22_000);
    let scattered: Vec<_> = (0..5000)
        .map(|n| entry(if n % 2 == 0 { 1 } else { 2 }, 9, None))
        .collect();
    assert!(agenda(&CHART, &scattered).0.len() < 22_000);
}
