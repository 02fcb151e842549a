//! Reports of load tests: shown again, written in other forms, and compared.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::fake::Fake;
use crate::run::Ran;

#[path = "../../src/load/report.rs"]
#[expect(dead_code, reason = "the command needs more of it")]
mod report;
#[path = "../../src/load/sample.rs"]
#[expect(dead_code, reason = "the tests beside the code need more of it")]
mod sample;

/// A home with reports in it.
struct Reports {
    fake: Fake,
}

impl Reports {
    fn new() -> Self {
        let reports = Self {
            fake: Fake::start(),
        };
        reports.save("steady.json", &sample::steady());
        reports.save("overload.json", &sample::overload());
        reports
    }

    fn save(&self, name: &str, report: &impl Serialize) -> String {
        let text = serde_json::to_string(report).unwrap();
        std::fs::write(self.path(name), text).unwrap();
        self.at(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.fake.home().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn load(&self, args: &[&str]) -> Ran {
        self.fake.run(&[&["load"], args].concat())
    }
}

#[test]
fn a_report_is_shown_again() {
    let reports = Reports::new();
    let steady = reports.at("steady.json");
    let text = reports.load(&["show", &steady]).ok().stdout;
    assert!(text.starts_with("✓ PASSED: 3 objectives met"), "{text}");
    assert!(!text.contains('\u{1b}'));
    let painted = reports.load(&["show", &steady, "--color", "always"]).ok();
    assert!(painted.stdout.contains("\u{1b}[1;32m✓"));
    let json = reports.load(&["show", &steady, "-o", "json"]).ok().json();
    let saved = std::fs::read_to_string(&steady).unwrap();
    assert_eq!(json, serde_json::from_str::<Value>(&saved).unwrap());
    let csv = reports.load(&["show", &steady, "-o", "csv"]).ok().stdout;
    assert_eq!(csv.lines().count(), 61);
    let word = reports.load(&["show", &reports.at("overload.json"), "-q"]);
    assert_eq!(word.ok().stdout, "failed\n");
}

#[test]
fn a_report_is_written_in_other_forms() {
    let reports = Reports::new();
    let steady = reports.at("steady.json");
    let names = ["page.html", "series.csv", "histograms"].map(|name| reports.at(name));
    let [html, series, hgrm] = &names;
    let args = [
        "show", &steady, "--html", html, "--series", series, "--hgrm", hgrm,
    ];
    let ran = reports.load(&args).ok();
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr.matches("wrote ").count(), 2 + 4);
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    let series = std::fs::read_to_string(series).unwrap();
    assert!(series.starts_with("at_seconds,wanted,sent,ok,"));
    let send = reports.path("histograms").join("send.response.hgrm");
    let send = std::fs::read_to_string(send).unwrap();
    assert!(send.trim_start().starts_with("Value     Percentile"));
    let nowhere = reports.at("no/such/page.html");
    let ran = reports.load(&["show", &steady, "--html", &nowhere]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("no/such/page.html"), "{}", ran.stderr);
}

#[test]
fn what_is_no_report_is_refused() {
    let reports = Reports::new();
    let other = reports.save("other.json", &serde_json::json!({"schema": 7}));
    let ran = reports.load(&["show", &other, "-o", "json"]);
    assert_eq!(ran.code, Some(2));
    let error = ran.error();
    assert!(error["message"].as_str().unwrap().contains("version 7"));
    assert!(error["hint"].as_str().unwrap().contains("chatctl load run"));
    let ran = reports.load(&["show", &reports.at("missing.json")]);
    assert_eq!(ran.code, Some(1));
}

#[test]
fn two_reports_side_by_side() {
    let reports = Reports::new();
    let (steady, overload) = (reports.at("steady.json"), reports.at("overload.json"));
    let text = reports.load(&["compare", &steady, &overload]).ok().stdout;
    insta::assert_snapshot!("load_compare", text);
    let same = ["compare", &steady, &steady, "--fail-on-worse"];
    let text = reports.load(&same).ok().stdout;
    assert!(text.contains("0 better, 0 worse"), "{text}");
    let worse = [
        "compare",
        &steady,
        &overload,
        "--fail-on-worse",
        "-o",
        "json",
    ];
    let ran = reports.load(&worse);
    assert_eq!(ran.code, Some(10));
    assert_eq!(ran.error()["code"], "unhealthy");
    let found = ran.json();
    let p99 = found["rows"].as_array().unwrap();
    let p99 = p99.iter().find(|row| row["metric"] == "send.p99").unwrap();
    assert_eq!(p99["verdict"], "worse");
    assert_eq!(found["worse"].as_u64(), Some(ids(&reports, &worse[..3])));
    let generous = ["compare", &steady, &overload, "--threshold", "1000000%"];
    let text = reports.load(&generous).ok().stdout;
    assert!(text.contains("= same"), "{text}");
    assert_eq!(
        reports
            .load(&["compare", &steady, &overload, "--threshold", "x"])
            .code,
        Some(2)
    );
}

/// How many figures `-q` names: those that got worse.
fn ids(reports: &Reports, args: &[&str]) -> u64 {
    let ran = reports.load(&[args, &["-q"]].concat()).ok();
    u64::try_from(ran.stdout.lines().count()).unwrap()
}

#[test]
fn the_schema_is_printed() {
    let reports = Reports::new();
    let schema = reports.load(&["schema"]).ok().json();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["properties"]["schema"]["const"], 1);
}
