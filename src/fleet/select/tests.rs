//! Tests of selection.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::fleet::file::Overrides;

fn fleet() -> Fleet {
    let text = r#"{"hosts": [
        {"name": "web1", "host": "h", "groups": ["web"], "labels": {"zone": "eu", "tier": "1"}},
        {"name": "web2", "host": "h", "groups": ["web"], "labels": {"zone": "us", "tier": "1"}},
        {"name": "web10", "host": "h", "groups": ["web", "big"], "labels": {"zone": "eu", "tier": "2"}},
        {"name": "db1", "host": "h", "groups": ["db"], "labels": {"zone": "eu", "gpu": ""}},
        {"name": "node01", "host": "h"},
        {"name": "node02", "host": "h"},
        {"name": "off", "host": "h", "groups": ["dead"], "labels": {"zone": "eu"}, "disabled": true}
    ]}"#;
    Fleet::parse(Path::new("f"), text, &Overrides::default()).unwrap()
}

fn try_names(
    selectors: &[&str],
    limit: Option<usize>,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let fleet = fleet();
    let selectors = selectors
        .iter()
        .map(|text| Selector::parse(text))
        .collect::<Result<_, _>>()?;
    let selected = select(&fleet, &Selection { selectors, limit })?;
    let names = selected.hosts.iter().map(|host| host.name.to_string());
    Ok((names.collect(), selected.notes))
}

fn names(selectors: &[&str]) -> String {
    try_names(selectors, None).unwrap().0.join(" ")
}

#[test]
fn selectors_mean_what_they_say() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "web1 web2 web10 db1 node01 node02"),
        (&["db1", "web1"], "web1 db1"),
        (&["web1", "web*", "web1"], "web1 web2 web10"),
        (&["web?"], "web1 web2"),
        (&["*"], "web1 web2 web10 db1 node01 node02"),
        (&["web[1-3,10]"], "web1 web2 web10"),
        (&["node[01-09]"], "node01 node02"),
        (&["[w,0]"], ""),
        (&["zone=eu"], "web1 web10 db1"),
        (&["zone=eu,tier=1"], "web1"),
        (&["zone=us", "tier=2"], "web2 web10"),
        (&["zone=e*"], "web1 web10 db1"),
        (&["gpu="], "db1"),
        (&["web*,zone=eu"], "web1 web10"),
        (&["@web"], "web1 web2 web10"),
        (&["@web,zone=eu"], "web1 web10"),
        (&["@web,@big"], "web10"),
        (&["!web2"], "web1 web10 db1 node01 node02"),
        (&["!@web", "!node*"], "db1"),
        (&["web*", "!web2"], "web1 web10"),
        (&["!zone=eu,tier=1"], "web2 web10 db1 node01 node02"),
        (&["web[1-2],tier=1"], "web1 web2"),
    ];
    for (selectors, expected) in cases {
        if expected.is_empty() {
            assert!(try_names(selectors, None).is_err(), "{selectors:?}");
        } else {
            assert_eq!(names(selectors), *expected, "{selectors:?}");
        }
    }
}

#[test]
fn the_limit_takes_the_first_in_file_order() {
    let (names, _) = try_names(&["db1", "web*"], Some(2)).unwrap();
    assert_eq!(names, ["web1", "web2"]);
}

#[test]
fn what_matches_nothing_is_an_error_with_the_nearest_names() {
    let cases = [
        ("web3", "no host matches `web3`", "web1, web2"),
        ("!wb1", "no host matches `!wb1`", "web1"),
        ("@wep", "no host matches `@wep`", "@web"),
        ("zone=eo", "no host matches `zone=eo`", "zone=eu"),
    ];
    for (selector, message, near) in cases {
        let error = try_names(&[selector], None).unwrap_err();
        assert_eq!(error.to_string(), message);
        let hint = error.hint().unwrap();
        assert!(hint.contains(near), "{selector}: {hint}");
    }
    let error = try_names(&["web1", "zzzzzz"], None).unwrap_err();
    assert_eq!(error.to_string(), "no host matches `zzzzzz`");
    assert!(error.hint().unwrap().contains("skyclaw fleet hosts"));
    assert_eq!(try_names(&["web1", "!web*"], None), Err(Error::NothingLeft));
    assert_eq!(try_names(&["!*"], None), Err(Error::NothingLeft));
}

#[test]
fn disabled_hosts_stay_out_and_are_spoken_of_when_named() {
    let (hosts, notes) = try_names(&["off", "web1"], None).unwrap();
    assert_eq!(hosts, ["web1"]);
    assert_eq!(notes, ["left out, disabled in the fleet file: off"]);
    let disabled = Err(Error::Disabled {
        names: vec!["off".to_owned()],
    });
    assert_eq!(try_names(&["off"], None), disabled);
    assert_eq!(try_names(&["@dead"], None), disabled);
    assert!(try_names(&["zone=eu"], None).unwrap().1.is_empty());
}

#[test]
fn gaps_of_a_range_are_noted() {
    let (_, notes) = try_names(&["web[1-3]"], None).unwrap();
    assert_eq!(notes, ["not in the fleet file: web3"]);
}

#[test]
fn an_empty_fleet_is_said_to_be_empty() {
    let fleet = Fleet::parse(Path::new("f"), r#"{"hosts": []}"#, &Overrides::default()).unwrap();
    assert_eq!(select(&fleet, &Selection::default()), Err(Error::Empty));
}

#[test]
fn malformed_selectors_are_refused() {
    for text in [
        "",
        "!",
        "@",
        "=x",
        "web[",
        "web[]",
        "web[3-1]",
        "web[a-b]",
        "a b",
        "web1,web2",
        "a,",
        "zone!=eu",
        "n[0-99999999]",
        "n[0-999][0-999]",
        "!!a",
        "a]",
        "x[1-99999999999999999999]",
        "a\u{1b}",
    ] {
        let error = Selector::parse(text).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{text}: {error}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

#[test]
fn lists_skip_comments_and_empty_lines() {
    let list = Selector::parse_list("# all\n\n web1 # first\n!web2\r\n").unwrap();
    assert_eq!(
        list,
        [
            Selector::parse("web1").unwrap(),
            Selector::parse("!web2").unwrap()
        ]
    );
    assert_eq!(Selector::parse_list("\n#\n").unwrap(), []);
}

fn selector() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "web*",
        "web1",
        "!web2",
        "@web",
        "!@db",
        "zone=eu",
        "node[01-02]",
        "!zone=us",
        "*",
        "off",
        "db?",
        "tier=1,zone=eu",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn selected_hosts_keep_file_order_and_are_there_once(
        selectors in prop::collection::vec(selector(), 0..6),
        limit in prop::option::of(1_usize..5),
    ) {
        let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
        if let Ok((names, _)) = try_names(&selectors, limit) {
            prop_assert!(!names.is_empty());
            prop_assert!(names.len() <= limit.unwrap_or(usize::MAX));
            let fleet = fleet();
            let places: Vec<usize> = names
                .iter()
                .map(|name| fleet.hosts.iter().position(|host| host.name.as_str() == name).unwrap())
                .collect();
            prop_assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", names);
            prop_assert!(names.iter().all(|name| name != "off"));
        }
    }

    #[test]
    fn the_order_of_selectors_does_not_matter(selectors in prop::collection::vec(selector(), 0..5)) {
        let forward: Vec<&str> = selectors.iter().map(String::as_str).collect();
        let backward: Vec<&str> = forward.iter().rev().copied().collect();
        prop_assert_eq!(
            try_names(&forward, None).ok().map(|found| found.0),
            try_names(&backward, None).ok().map(|found| found.0)
        );
    }

    #[test]
    fn ranges_count_up_and_keep_their_width(from in 0_u32..200, count in 1_u32..200, pad in 0_usize..5) {
        let to = from + count;
        let first = format!("{from:0pad$}");
        let selector = Selector::parse(&format!("n[{first}-{to}]")).unwrap();
        let width = if first.starts_with('0') { first.len() } else { 0 };
        let expected: Vec<String> = (from..=to).map(|number| format!("n{number:0width$}")).collect();
        prop_assert_eq!(selector.terms[0].range_names(), expected);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[a-z0-9\\[\\],=@!*?-]{0,16}") {
        let _ = Selector::parse(&text);
    }
}

#[test]
fn many_names_are_written_briefly() {
    let fold = |names: &str| fold_names(&names.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(fold("web1 web2 web3 db1"), "web[1-3],db1");
    assert_eq!(fold("web1 db web9 web10 web2"), "web[1-2,9-10],db");
    assert_eq!(fold("n09 n10 n08"), "n[08-10]");
    assert_eq!(fold("a b"), "a,b");
}

#[test]
fn what_is_gone_is_left_out_unless_nothing_else_chooses() {
    let still = |texts: &[&str]| {
        let selectors = texts.iter().map(|text| Selector::parse(text).unwrap());
        let selection = Selection {
            selectors: selectors.collect(),
            limit: None,
        };
        let (left, gone) = selection.still_there(&fleet());
        let left: Vec<String> = left.selectors.into_iter().map(|one| one.text).collect();
        (left.join(" "), gone.join(" "))
    };
    let seen = |left: &str, gone: &str| (left.to_owned(), gone.to_owned());
    assert_eq!(still(&["web1", "web9", "!db9"]), seen("web1", "web9 !db9"));
    assert_eq!(still(&["web9", "!db1"]), seen("web9 !db1", ""));
    assert_eq!(still(&["!db9"]), seen("", "!db9"));
    assert_eq!(still(&[]), seen("", ""));
}
