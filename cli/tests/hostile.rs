//! What goes wrong around `whyline`: streams that take nothing, files that are read and written at once, states and masks that are
//! not what they seem.

mod common;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Place, models, text, whyline};
use whyline_runtime::image::Picture;

fn model() -> String {
    models().join("digits-cnn.onnx").display().to_string()
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whyline"));
    command.args(words);
    command
}

impl Place {
    fn evaluate(&self, more: &[&str]) -> Output {
        whyline(
            &[&["evaluate", &model(), &self.path("images"), "-m", "vanilla", "--metrics", "complexity"], more].concat(),
        )
    }
}

#[cfg(target_os = "linux")]
#[test]
fn where_nobody_can_be_told_the_exit_code_stands() {
    let place = Place::of(1);
    let image = place.path("images/digit-0.png");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let code = |words: &[&str]| command(words).stderr(full()).stdout(Stdio::null()).status().unwrap().code();
    assert_eq!(code(&["explain", "nowhere.onnx", &image]), Some(3));
    // It warns of the budget.
    assert_eq!(code(&["explain", &model(), &image, "--max-passes", "10"]), Some(0));
    std::fs::write(&image, "no image").unwrap();
    assert_eq!(code(&["evaluate", &model(), &place.path("images"), "-m", "vanilla", "-q"]), Some(4));
}

/// Lines go into a pipe or device as they come, which has none of an earlier run.
#[cfg(unix)]
#[test]
fn lines_go_into_what_is_no_file() {
    let place = Place::of(2);
    let state = place.path("s.wls");
    let run = place.evaluate(&["-q", "--samples", "/dev/stdout", "--state", &state]);
    assert!(run.status.success() && text(&run.stdout).lines().count() == 2, "{}", text(&run.stderr));
    assert!(place.evaluate(&["-q", "--samples", "/dev/null", "--state", &state]).status.success());
}

/// A full standard output is told of, and files are written all the same.
#[cfg(target_os = "linux")]
#[test]
fn what_goes_into_files_does_not_wait_for_standard_output() {
    let place = Place::of(2);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let run = |words: &[&str]| command(words).stdout(full()).output().unwrap();
    let (json, state, maps, images) =
        (place.path("out.json"), place.path("s.wls"), place.path("maps"), place.path("images"));
    for words in [
        &["evaluate", &model(), &images, "-m", "vanilla", "--json", &json, "--state", &state][..],
        &["merge", &state, "--csv", &place.path("out.csv")],
        &["explain", &model(), &images, "-m", "vanilla", "-o", &maps],
    ] {
        let run = run(words);
        assert!(run.status.code() == Some(2), "{words:?}");
        assert_eq!(text(&run.stderr).matches("standard output").count(), 1, "{words:?}: {}", text(&run.stderr));
    }
    assert_eq!(place.json("out.json")["done"], 2);
    assert!(Path::new(&place.path("out.csv")).exists() && std::fs::read_dir(&maps).unwrap().count() == 2);
}

#[test]
fn a_reader_that_has_gone_away_ends_no_work() {
    let place = Place::of(4);
    let unread = |words: &[&str]| {
        let mut child = command(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code()
    };
    let maps = place.path("maps");
    assert_eq!(unread(&["explain", &model(), &place.path("images"), "-m", "vanilla", "-o", &maps]), Some(0));
    assert_eq!(std::fs::read_dir(&maps).unwrap().count(), 4);
    (0..4).for_each(|digit| std::fs::write(place.path(&format!("images/digit-{digit}.png")), "no image").unwrap());
    assert_eq!(unread(&["evaluate", &model(), &place.path("images"), "-m", "vanilla"]), Some(4));
}

#[test]
fn what_could_not_be_written_is_not_begun() {
    let place = Place::of(1);
    for option in ["--json", "--csv"] {
        let run = place.evaluate(&[option, &place.path("no/such/folder")]);
        assert!(run.status.code() == Some(2) && run.stdout.is_empty(), "{option}: {}", text(&run.stdout));
    }
    let image = place.path("images/digit-0.png");
    let run = whyline(&["explain", &model(), &image, "-o", &place.path("no/such.png")]);
    assert!(run.status.code() == Some(2) && text(&run.stderr).contains("cannot write"), "{}", text(&run.stderr));
    assert_eq!(std::fs::read_dir(place.0.path()).unwrap().count(), 1, "nothing is left over");
}

#[test]
fn baselines_are_not_written_over_and_nothing_is_written_twice() {
    let place = Place::of(2);
    let (base, image) = (place.path("base.png"), place.path("images/digit-0.png"));
    place.sample(3, "base.png");
    let before = std::fs::read(&base).unwrap();
    let baseline = format!("baseline={base}");
    let folder = format!("baseline={}", place.path("images"));
    for words in [
        &["explain", &model(), &image, "-p", &baseline, "-o", &base][..],
        &["compare", &model(), &image, "-m", "ig", "-p", &baseline, "-o", &base],
        &["evaluate", &model(), &place.path("images"), "-m", "ig", "-p", &baseline, "--json", &base],
        &["explain", &model(), &base, "-m", "expected-gradients", "-p", &folder, "--json", &image],
        &["explain", &model(), &image, "-o", "x.png", "--npy", "./x.png"],
        &["evaluate", &model(), &place.path("images"), "-m", "ig", "--csv", "-", "--json", "-"],
        &["evaluate", &model(), &place.path("images"), "-m", "ig", "--state", "-"],
    ] {
        let run = whyline(words);
        assert_eq!(run.status.code(), Some(2), "{words:?}: {}", text(&run.stderr));
    }
    assert_eq!(std::fs::read(&base).unwrap(), before);
    assert!(std::fs::read(&image).unwrap().starts_with(b"\x89PNG"));
    // To one device as often as one likes.
    let nothing = ["--json", "/dev/null", "--csv", "/dev/null"];
    assert!(place.evaluate(&nothing).status.success());
}

/// Where the class explained is the other one, the sample has no margin; others have.
#[test]
fn a_sample_without_a_margin_is_counted() {
    let place = Place::of(4);
    let run = place.evaluate(&["--against", "3", "--json", &place.path("out.json")]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report = place.json("out.json");
    let failed = report["failed"].as_array().unwrap();
    assert!(failed.len() == 1 && failed[0]["sample"] == "digit-3.png", "{failed:?}");
    assert_eq!(report["results"][0]["samples"], 3);
    let folder = place.path("images");
    let run = whyline(&["explain", &model(), &folder, "-m", "vanilla", "--against", "3"]);
    assert!(run.status.code() == Some(4) && text(&run.stderr).contains("digit-3.png"), "{}", text(&run.stderr));
    let none = place.evaluate(&["--target", "3", "--against", "3"]);
    assert_eq!(none.status.code(), Some(2), "of no sample would it be anything");
}

/// What files hold decides the scores, whatever they are called.
#[test]
fn shards_of_other_files_do_not_go_together() {
    let merged = |change: &dyn Fn(&Place)| {
        let place = Place::of(3);
        place.sample(1, "base.png");
        std::fs::copy(models().join("digits-cnn.toml"), place.path("card.toml")).unwrap();
        let shard = |part: &str, state: &str| {
            let baseline = format!("baseline={}", place.path("base.png"));
            let told =
                ["--shard", part, "--state", &place.path(state), "--card", &place.path("card.toml"), "-p", &baseline];
            let words = ["evaluate", &model(), &place.path("images"), "-m", "ig", "--metrics", "complexity", "-q"];
            let run = whyline(&[&words[..], &told].concat());
            assert!(run.status.success(), "{}", text(&run.stderr));
        };
        shard("0/2", "a.wls");
        change(&place);
        shard("1/2", "b.wls");
        whyline(&["merge", &place.path("a.wls"), &place.path("b.wls")]).status.code()
    };
    assert_eq!(merged(&|_| {}), Some(0));
    assert_eq!(merged(&|place| place.sample(9, "base.png")), Some(4));
    assert_eq!(merged(&|place| place.sample(8, "images/digit-2.png")), Some(4));
    let relabelled = |place: &Place| {
        let card = std::fs::read_to_string(place.path("card.toml")).unwrap();
        std::fs::write(place.path("card.toml"), card.replacen("\"0\"", "\"zero\"", 1)).unwrap();
    };
    assert_eq!(merged(&relabelled), Some(4));
}

#[test]
fn what_was_said_of_samples_is_still_said_where_a_run_goes_on() {
    let place = Place::of(3);
    std::fs::write(place.path("images/digit-1.png"), "no image").unwrap();
    let (state, lines, out) = (place.path("s.wls"), place.path("s.jsonl"), place.path("out.json"));
    let told = ["-q", "--state", &state, "--json", &out];
    let mut reports = vec![];
    for _ in 0..2 {
        let run = place.evaluate(&[&told[..], &["--samples", &lines]].concat());
        assert!(run.status.success(), "{}", text(&run.stderr));
        reports.push(place.json("out.json")["failed"].clone());
    }
    assert!(reports[0] == reports[1] && reports[1][0]["sample"] == "digit-1.png", "{reports:?}");
    assert!(whyline(&["merge", &state, "-q", "--json", &out]).status.success());
    assert_eq!(place.json("out.json")["failed"], reports[0]);
    // Lines that are not of this state would be lost, or be somebody else's.
    std::fs::write(&lines, "my\nown\nnotes\n").unwrap();
    for file in [&lines, &place.path("new.jsonl")] {
        let run = place.evaluate(&[&told[..], &["--samples", file]].concat());
        assert!(run.status.code() == Some(4) && text(&run.stderr).contains("lines"), "{}", text(&run.stderr));
    }
    assert_eq!(std::fs::read_to_string(&lines).unwrap(), "my\nown\nnotes\n");
}

#[test]
fn shards_beyond_all_samples_have_none() {
    let place = Place::of(2);
    let state = place.path("s.wls");
    for _ in 0..2 {
        let run = place.evaluate(&["--shard", "5/18446744073709551615", "--state", &state]);
        assert!(run.status.success() && text(&run.stdout).contains("0 of 0 samples"), "{}", text(&run.stderr));
    }
    let run = whyline(&["merge", &state]);
    let said = text(&run.stderr);
    assert!(run.status.code() == Some(2) && said.contains("0/18446744073709551615") && said.len() < 2000, "{said}");
}

/// White marks the object; numbers of classes would mark next to nothing.
#[test]
fn masks_of_classes_are_named() {
    let place = Place::of(2);
    let marked = |value: u8| Picture::from_fn(48, 48, |x, y| [if x > 9 && y > 9 { value } else { 0 }; 3].into());
    marked(255).save(place.path("images/digit-0.mask.png")).unwrap();
    marked(1).save(place.path("images/digit-1.mask.png")).unwrap();
    let words = ["evaluate", &model(), &place.path("images"), "-m", "vanilla", "--metrics", "auc"];
    let run = whyline(&[&words[..], &["--json", &place.path("out.json")]].concat());
    assert!(run.status.success() && text(&run.stderr).contains("white"), "{}", text(&run.stderr));
    let report = place.json("out.json");
    assert_eq!((&report["results"][0]["samples"], report["failed"].as_array().unwrap().len()), (&1.into(), 1));
    // What compression leaves of black, and a soft edge, are no classes.
    let compressed = Picture::from_fn(48, 48, |x, y| {
        [if x.abs_diff(24) + y.abs_diff(24) < 7 { 255 } else { (x % 4) as u8 }; 3].into()
    });
    let soft = Picture::from_fn(48, 48, |x, y| {
        [(255.0 / (1.0 + f32::from((x.abs_diff(24).pow(2) + y.abs_diff(24).pow(2)) as u16) / 60.0)) as u8; 3].into()
    });
    for mask in [compressed, soft] {
        mask.save(place.path("images/digit-1.mask.png")).unwrap();
        let run = whyline(&[&words[..], &["--json", &place.path("out.json")]].concat());
        assert!(run.status.success(), "{}", text(&run.stderr));
        assert_eq!(place.json("out.json")["results"][0]["samples"], 2);
    }
}

#[test]
fn one_image_of_a_folder_is_not_the_others_fault() {
    let place = Place::of(3);
    std::fs::write(place.path("images/digit-1.png"), "no image").unwrap();
    let maps = place.path("maps");
    let run = whyline(&["explain", &model(), &place.path("images"), "-m", "vanilla", "-o", &maps]);
    let said = text(&run.stderr);
    assert!(run.status.code() == Some(4) && said.contains("digit-1.png") && said.contains("1 of 3 images"), "{said}");
    assert_eq!(std::fs::read_dir(&maps).unwrap().count(), 2);
}

#[test]
fn labels_that_are_of_nothing_are_told() {
    let place = Place::of(1);
    for (line, is_told) in [("train/digit-0.png,0", true), ("digit-0.png,0", false)] {
        std::fs::write(place.path("labels.csv"), line).unwrap();
        let run = place.evaluate(&["--labels", &place.path("labels.csv")]);
        assert!(run.status.success() && text(&run.stderr).contains("none of the images") == is_told, "{line}");
    }
}

#[test]
fn quotes_that_are_not_closed_take_no_lines_in() {
    let place = Place::of(2);
    std::fs::write(place.path("labels.csv"), "digit-0.png,\"0\ndigit-1.png,1\n").unwrap();
    let run = place.evaluate(&["--labels", &place.path("labels.csv")]);
    let said = text(&run.stderr);
    assert!(
        run.status.code() == Some(4)
            && said.contains("labels.csv")
            && said.contains("line 1 has a field of several lines"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn links_to_nothing_hold_nothing_up() {
    let place = Place::of(1);
    std::os::unix::fs::symlink("/nowhere", place.path("images/a.png")).unwrap();
    let run = place.evaluate(&["--follow", "--budget", "4s", "--json", &place.path("out.json")]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report = place.json("out.json");
    assert_eq!((&report["done"], &report["failed"][0]["sample"]), (&2.into(), &"a.png".into()));
}

/// Metrics that explain again and again are asked for no more: these would take hours.
#[cfg(unix)]
#[test]
fn an_interruption_ends_metrics_that_explain() {
    let place = Place::of(1);
    for (metric, draws) in [("max-sensitivity", "draws=100000"), ("smooth-mprt", "draws=100000")] {
        let images = place.path("images");
        let words = ["evaluate", &model(), &images, "-m", "smoothgrad", "--metrics", metric, "--metric-param", draws];
        let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let wait = || std::thread::sleep(std::time::Duration::from_millis(100));
        (0..5).for_each(|_| wait());
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let code = (0..600).find_map(|_| {
            wait();
            child.try_wait().unwrap()
        });
        if code.is_none() {
            child.kill().unwrap();
        }
        assert_eq!(code.and_then(|code| code.code()), Some(130), "{metric}");
    }
}

#[test]
fn no_command_writes_over_what_it_reads() {
    let place = Place::of(1);
    let (card, black, image) = (place.path("card.toml"), place.path("black.png"), place.path("images/digit-0.png"));
    std::fs::copy(models().join("digits-cnn.toml"), &card).unwrap();
    std::fs::copy(&image, &black).unwrap();
    let model = model();
    let baseline = format!("baseline={black}");
    let all: [&[&str]; 5] = [
        &["inspect", &model, "--card", &card, "--json", &card],
        &["bench", &model, "--card", &card, "--json", &card, "--runs", "1"],
        &["compile", &model, "--card", &card, "-o", &card],
        &["explain", &model, &image, "--card", &card, "--json", &card],
        &["validate", &model, &image, "-p", &baseline, "--checks", "completeness", "--json", &black],
    ];
    for words in all {
        let output = whyline(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output.stderr).contains("must not be written over"), "{}", text(&output.stderr));
    }
    assert_eq!(whyline(&["compile", &model, "-o", "-"]).status.code(), Some(2));
}

/// What somebody types who has not read much: each message names the thing and what to do.
#[test]
fn a_newcomers_mistakes_are_told_what_is_right() {
    let place = Place::of(1);
    let (model, image, images) = (model(), place.path("images/digit-0.png"), place.path("images"));
    let card = place.path("two.toml");
    let own = std::fs::read_to_string(models().join("digits-cnn.toml")).unwrap();
    let rest = own.split_once("[input]").unwrap().1;
    std::fs::write(&card, format!("labels = ['cat', 'dog']\n[input]{rest}")).unwrap();
    let map = place.path("map.npy");
    let all: [(&[&str], i32, &str); 10] = [
        (&["explain", &image, &model], 3, "the model comes first"),
        (&["explain", &model, &image, "-m", "ig,grad-cam"], 2, "compare takes several"),
        (&["explain", &model, &image, "-m", "Integrated_Gradients"], 2, "did you mean integrated-gradients?"),
        (&["compare", &model, &images, "-m", "ig", "-o", &place.path("x.png")], 2, "explain a folder"),
        (&["explain", &model, &image, "--color", "rgb"], 4, "color = rgb"),
        (&["explain", &model, &image, "--npy", "-"], 2, "not to standard output"),
        (&["explain", &model, &image, "-o", "-"], 2, "not to standard output"),
        (&["explain", &model, &image, "--random-weights=7"], 2, "has weights of its own"),
        (&["explain", &model, &image, "--card", &card, "--target", "cat"], 2, "2 labels are not used"),
        (&["validate", &model, "--limit", "foo=1"], 2, "there are changed, cosine"),
    ];
    for (words, code, told) in all {
        let output = whyline(words);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(code) && err.contains(told), "{words:?}: {:?} {err}", output.status);
    }
    let output = whyline(&["explain", &model, &image, "--card", &card, "--npy", &map]);
    assert!(text(&output.stderr).contains("2 labels for 10 classes, so none is used"), "{}", text(&output.stderr));
}

/// What would be left out of account without a word is refused, and nothing is written.
#[test]
fn what_would_be_ignored_is_refused() {
    let place = Place::of(1);
    let (image, jpeg) = (place.path("images/digit-0.png"), place.path("why.JPG"));
    for (more, reason) in
        [(&["-o", &jpeg] as &[&str], "call it .png"), (&["--zoom", "2"], "--png"), (&["--side-by-side"], "--png")]
    {
        let output = whyline(&[&["explain", &model(), &image, "-m", "vanilla"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(text(&output.stderr).contains(reason), "{more:?}: {}", text(&output.stderr));
    }
    let output = whyline(&["compare", &model(), &image, "-m", "vanilla,saliency", "-o", &jpeg]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!Path::new(&jpeg).exists());
    let output = place.evaluate(&["--se", "0.1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--se takes fewer random draws"), "{}", text(&output.stderr));
    let output = whyline(&[
        "evaluate",
        &model(),
        &place.path("images"),
        "-m",
        "vanilla",
        "--metrics",
        "avg-sensitivity",
        "--se",
        "0.1",
        "-q",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
