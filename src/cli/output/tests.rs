//! Tests of printing.

use std::collections::HashMap;
use std::ffi::OsString;

use serde_json::{Value, json};

use super::*;
use crate::cli::args::Colour;
use crate::cli::error::Failure;

const PLAIN: Streams = Streams {
    out_width: None,
    err_terminal: false,
    out_colour: false,
    err_colour: false,
    quiet: false,
};

fn captured(format: Format, streams: Streams) -> (Output, Captured, Captured) {
    let (out, err) = (Captured::default(), Captured::default());
    let output = Output::to(
        format,
        streams,
        Box::new(out.clone()),
        Box::new(err.clone()),
    );
    (output, out, err)
}

/// A stdout that always fails the same way.
struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failing(kind: io::ErrorKind) -> Output {
    Output::to(
        Format::Human,
        PLAIN,
        Box::new(Failing(kind)),
        Box::new(io::sink()),
    )
}

#[test]
fn a_fact_stays_on_its_line() {
    let (output, out, _) = captured(Format::Human, PLAIN);
    output.fact("what", "sh\nstatus       completed\u{1b}[2J");
    output.finish().unwrap();
    assert_eq!(
        out.text(),
        "what         sh\\nstatus       completed^[[2J\n"
    );
}

#[test]
fn each_format_prints_only_its_own() {
    let print = |format| {
        let (output, out, err) = captured(format, PLAIN);
        output.line("text");
        output.note("by the way");
        output.document(&json!({"a": 1})).unwrap();
        output.event("host", &json!({"a": 2})).unwrap();
        assert_eq!(err.text(), "skyclaw: by the way\n");
        out.text()
    };
    assert_eq!(print(Format::Human), "text\n");
    assert_eq!(print(Format::Json), "{\n  \"schema\": 1,\n  \"a\": 1\n}\n");
    assert_eq!(
        print(Format::Ndjson),
        "{\"schema\":1,\"event\":\"host\",\"a\":2}\n"
    );
}

#[test]
fn a_failure_reads_well_and_is_json_for_those_who_asked() {
    let failure = || {
        anyhow::Error::new(std::io::Error::other("disk on fire"))
            .context(Failure::usage("read config").hint("buy a disk"))
    };
    let (output, out, err) = captured(Format::Human, PLAIN);
    assert_eq!(output.failure(&failure()), Exit::Usage);
    assert_eq!(
        err.text(),
        "skyclaw: read config: disk on fire\nhint: buy a disk\n"
    );
    assert_eq!(out.text(), "");

    let (output, out, _) = captured(Format::Json, PLAIN);
    output.failure(&failure());
    let document: Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["error"]["exit"], 2);

    let (output, out, _) = captured(Format::Json, PLAIN);
    output.document(&json!({"a": 1})).unwrap();
    output.failure(&failure());
    assert!(
        serde_json::from_str::<Value>(&out.text()).is_ok(),
        "still one"
    );
}

#[test]
fn foreign_text_is_shown_escaped() {
    let (output, out, err) = captured(
        Format::Human,
        Streams {
            out_width: Some(80),
            ..PLAIN
        },
    );
    output.line("a\u{1b}[2J");
    output.note("b\u{1b}]0;x\u{7}");
    output.failure(&anyhow::anyhow!("c\u{9b}"));
    assert_eq!(out.text(), "a^[[2J\n");
    assert_eq!(err.text(), "skyclaw: b^[]0;x^G\nskyclaw: c<U+009B>\n");
}

#[test]
fn a_reader_that_went_away_is_no_error_but_a_full_disk_is() {
    let output = failing(io::ErrorKind::BrokenPipe);
    output.line("x");
    assert!(output.is_closed());
    output.line("y");
    assert!(output.finish().is_ok());

    let output = failing(io::ErrorKind::StorageFull);
    output.line("x");
    let error = output.finish().unwrap_err();
    assert!(format!("{error:#}").starts_with("write the result to stdout: "));
    assert!(output.finish().is_ok(), "said once");
}

#[test]
fn quiet_holds_back_notes_but_no_errors() {
    let (output, _, err) = captured(
        Format::Human,
        Streams {
            quiet: true,
            ..PLAIN
        },
    );
    output.note("x");
    output.failure(&anyhow::anyhow!("bad"));
    assert_eq!(err.text(), "skyclaw: bad\n");
}

#[tokio::test]
async fn consent_is_never_asked_for_off_a_terminal() {
    let (output, _, err) = captured(Format::Human, PLAIN);
    assert!(output.confirm("Remove?", true).await.unwrap());
    let refused = output.confirm("Remove?", false).await.unwrap_err();
    let (exit, hints) = classify(&refused.into());
    assert_eq!(exit, Exit::Usage);
    assert!(hints[0].contains("-y"));
    assert_eq!(err.text(), "");
}

#[test]
fn colour_follows_flag_then_variables_then_terminal() {
    type Variables = &'static [(&'static str, &'static str)];
    let cases: &[(Colour, bool, Variables, bool)] = &[
        (Colour::Auto, true, &[], true),
        (Colour::Auto, false, &[], false),
        (Colour::Auto, true, &[("NO_COLOR", "1")], false),
        (Colour::Auto, true, &[("NO_COLOR", "")], true),
        (Colour::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
        (Colour::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
        (
            Colour::Auto,
            true,
            &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
            false,
        ),
        (Colour::Auto, true, &[("TERM", "dumb")], false),
        (Colour::Always, false, &[("NO_COLOR", "1")], true),
        (Colour::Never, true, &[("CLICOLOR_FORCE", "1")], false),
    ];
    for (flag, terminal, variables, expected) in cases {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let lookup = |name: &str| variables.get(name).map(OsString::from);
        assert_eq!(
            wants_colour(*flag, *terminal, lookup),
            *expected,
            "{flag:?} {terminal} {variables:?}"
        );
    }
}
