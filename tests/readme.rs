//! README's tables are those of the program. `WHYLINE_BLESS=1` rewrites them.

use std::path::{Path, PathBuf};

use whyline_runtime::gradient::adjoints::covered_ops;
use whyline_runtime::methods::{Extents, METHODS};
use whyline_runtime::metrics::{Grid, METRICS, Wants};
use whyline_runtime::onnx::Layout;
use whyline_runtime::validate::CHECKS;

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// Holds what stands between `<!-- name -->` and `<!-- /name -->` equal to `wanted`.
fn assert_section(name: &str, wanted: &str) {
    let text = std::fs::read_to_string(readme()).unwrap();
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = text.find(&open).unwrap_or_else(|| panic!("README has no {open}")) + open.len();
    let end = start + text[start..].find(&close).unwrap_or_else(|| panic!("README has no {close}"));
    if text[start..end] == *wanted {
        return;
    }
    if std::env::var_os("WHYLINE_BLESS").is_some() {
        std::fs::write(readme(), format!("{}{wanted}{}", &text[..start], &text[end..])).unwrap();
        return;
    }
    panic!("README's {name} are not the program's; WHYLINE_BLESS=1 rewrites them. Wanted:\n{wanted}");
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "" }
}

/// One test, for those that rewrite one file at the same time would undo each other's work.
#[test]
fn the_readme_tells_what_there_is() {
    methods_and_ops();
    metrics();
    checks();
}

fn methods_and_ops() {
    let mut methods =
        "| method | family | gives | passes | signed | adds up | from |\n|---|---|---|---:|---|---|---|\n".to_string();
    for m in METHODS {
        let passes = m.default().unwrap().passes(Extents::USUAL).all();
        let (signed, complete, family) = (yes(m.properties.signed), yes(m.properties.complete), m.family.name());
        methods +=
            &format!("| `{}` | {family} | {} | {passes} | {signed} | {complete} | {} |\n", m.name, m.summary, m.paper);
    }
    assert_section("methods", &methods);
    let mut ops = covered_ops();
    // These are rewritten to ops that have adjoints when a model is read.
    ops.extend(["Celu", "Dropout", "Mean", "ReduceLogSumExp", "Swish", "Upsample"]);
    ops.sort_unstable();
    assert_section("ops", &format!("{}.\n", ops.join(", ")));
}

fn metrics() {
    let grid = Grid { layout: Some(Layout::ChannelsFirst), channels: 3, height: 224, width: 224 };
    let mut metrics =
        "| metric | family | asks | better | passes | explanations | wants | from |\n|---|---|---|---|---:|---:|---|---|\n"
            .to_string();
    for m in METRICS {
        let (cost, better) = (m.default().unwrap().cost(&grid), m.better.name());
        let family = m.family.name();
        let wants = match m.wants {
            Wants::Nothing => "",
            Wants::Mask => "a mask",
            Wants::Mosaic => "mosaics",
        };
        metrics += &format!(
            "| `{}` | {family} | {} | {better} | {} | {} | {wants} | {} |\n",
            m.name, m.summary, cost.forward, cost.explanations, m.paper
        );
    }
    assert_section("metrics", &metrics);
}

fn checks() {
    let mut checks = String::new();
    // Those of other engines are in builds with a feature.
    for check in CHECKS.iter().filter(|check| !["other-engine", "gpu"].contains(&check.name)) {
        let limits: Vec<String> = check.parameters.iter().map(|p| format!("`{}={}`", p.name, p.default)).collect();
        checks += &format!("| `{}` | {} | {} |\n", check.name, check.passes_when, limits.join(" "));
    }
    assert_section("checks", &checks);
}
