//! What is kept of an evaluation between runs and machines: states, lines, scores, and what may happen to them.

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::{Place, models, text};

impl Place {
    /// The program, run in it.
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whyline"));
        command.current_dir(self.0.path()).args(words.split(' '));
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// `evaluate` of digits-cnn, without a word.
    fn evaluate(&self, words: &str) -> Output {
        let model = models().join("digits-cnn.onnx");
        self.run(&format!("evaluate {} images -q {words}", model.display()))
    }
}

fn told(run: &Output) -> String {
    text(&run.stderr)
}

fn done(run: &Output) {
    assert!(run.status.success(), "{}", told(run));
}

/// Three hundred baselines are as good as one, and what is in a file decides, not where it lies.
#[test]
fn states_know_files_by_what_is_in_them() {
    let place = Place::of(2);
    (0..300).for_each(|number| place.sample(number % 7, &format!("many/{number}.png")));
    place.sample(3, "other/name.png");
    place.sample(3, "baseline.png");
    let many = "-m expected-gradients -p samples=2 -p baseline=many --metrics complexity --state many.wls";
    done(&place.evaluate(many));
    done(&place.evaluate(many));
    for (shard, baseline) in [("0/2", "baseline.png"), ("1/2", "other/name.png")] {
        let words = format!("-m ig -p steps=2 -p baseline={baseline} --metrics complexity --shard {shard}");
        done(&place.evaluate(&format!("{words} --state {}.wls", &shard[..1])));
    }
    done(&place.run("merge 0.wls 1.wls -q"));
    let other = place
        .evaluate("-m ig -p steps=2 -p baseline=images/digit-1.png --metrics complexity --shard 0/2 --state 0.wls");
    assert!(told(&other).contains("other methods or parameters"), "{}", told(&other));
}

/// It is the same image under several labels, each of which is another sample.
#[test]
fn an_image_in_several_folders_is_drawn_by_its_label() {
    let place = Place::of(0);
    for digit in 0..10 {
        (0..8).for_each(|label| place.sample(digit, &format!("images/{label}/{digit}.png")));
    }
    let words = "-m vanilla,gxi --metrics sufficiency --target label";
    done(&place.evaluate(&format!("{words} --json whole.json")));
    (0..3).for_each(|n| done(&place.evaluate(&format!("{words} --shard {n}/3 --state {n}.wls"))));
    done(&place.run("merge 1.wls 2.wls 0.wls -q --json merged.json"));
    let means = |name: &str| {
        let results = place.json(name)["results"].as_array().unwrap().clone();
        results.iter().map(|cell| (cell["mean"].as_f64().unwrap() * 1e9).round()).collect::<Vec<f64>>()
    };
    assert_eq!(means("whole.json"), means("merged.json"));
}

/// A program that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    /// `evaluate` with `--samples s.jsonl`, begun and at its second sample.
    fn begun(&self, words: &str) -> Ended {
        let model = models().join("digits-cnn.onnx");
        let mut run = Ended(self.command(&format!("evaluate {} images -q {words}", model.display())).spawn().unwrap());
        while std::fs::read_to_string(self.path("s.jsonl")).map_or(0, |lines| lines.lines().count()) == 0 {
            assert!(run.0.try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        run
    }
}

/// Of two runs that write one state, each would lose what the other has done.
#[test]
fn a_state_is_one_runs_until_that_has_ended() {
    let place = Place::of(10);
    let words = |state: &str| format!("-m ig -p steps=3000 --metrics complexity --state {state} --samples s.jsonl");
    let mut run = place.begun(&words("s.wls"));
    for (state, said) in [("s.wls", "another run has it"), ("other.wls", "another run writes its lines there")] {
        let other = place.evaluate(&words(state));
        assert!(other.status.code() == Some(2) && told(&other).contains(said), "{}", told(&other));
    }
    assert!(!Path::new(&place.path("other.wls")).exists(), "who is refused leaves nothing");
    assert!(run.0.try_wait().unwrap().is_none(), "it goes on");
    run.0.kill().unwrap();
    run.0.wait().unwrap();
    done(&place.evaluate(&format!("{} --budget 0ms", words("s.wls"))));
    let left = std::fs::read_dir(place.0.path()).unwrap().map(|file| file.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".busy")));
}

/// A dataset that goes away is no fault of its images: what was done stands, and nothing else is counted.
#[test]
fn a_dataset_that_goes_away_ends_the_run_and_is_gone_on_with() {
    let place = Place::of(10);
    let words = "-m ig -p steps=300 --metrics complexity --state s.wls --samples s.jsonl --threads 1";
    let mut run = place.begun(words);
    std::fs::rename(place.path("images"), place.path("away")).unwrap();
    assert_eq!(run.0.wait().unwrap().code(), Some(4));
    std::fs::rename(place.path("away"), place.path("images")).unwrap();
    done(&place.evaluate(&format!("{words} --json out.json")));
    let report = place.json("out.json");
    assert_eq!((&report["done"], &report["results"][0]["samples"]), (&10.into(), &10.into()), "{report}");
}

/// The same image again is another sample, and takes what it takes alone.
#[test]
fn what_samples_take_does_not_depend_on_those_before() {
    let place = Place::of(0);
    ["a", "b", "c"].iter().for_each(|name| place.sample(3, &format!("images/{name}.png")));
    done(&place.evaluate("-m vanilla --metrics all-cheap --json out.json"));
    assert_eq!(place.json("out.json")["methods"][0]["passes"]["gradient"], 3);
}

#[cfg(target_os = "linux")]
#[test]
fn one_file_that_cannot_be_written_takes_no_other_with_it() {
    let place = Place::of(2);
    let run = place.evaluate("-m vanilla --metrics complexity --samples /dev/full --json none.json");
    assert!(
        run.status.code() == Some(2) && !Path::new(&place.path("none.json")).exists(),
        "nothing is done: {}",
        told(&run)
    );
    for (csv, json, written) in [("/dev/full", "out.json", "out.json"), ("out.csv", "/dev/full", "out.csv")] {
        let run = place.evaluate(&format!("-m vanilla --metrics complexity --csv {csv} --json {json}"));
        assert!(run.status.code() == Some(2) && Path::new(&place.path(written)).exists(), "{}", told(&run));
        let printed = text(&run.stdout);
        assert!(printed.contains("complexity ↓"), "the scores are told: {printed}");
    }
}

#[test]
fn lines_of_another_shard_are_not_gone_on_behind() {
    let place = Place::of(5);
    let words = "-m vanilla --metrics complexity";
    for n in [0, 1] {
        done(&place.evaluate(&format!("{words} --shard {n}/2 --state {n}.wls --samples {n}.jsonl --max-passes 9")));
    }
    let before = std::fs::read(place.path("0.jsonl")).unwrap();
    let wrong = format!("{words} --shard 1/2 --state 1.wls --max-passes 9 --samples");
    for lines in ["0.jsonl", "none.jsonl"] {
        let run = place.evaluate(&format!("{wrong} {lines}"));
        assert!(run.status.code() == Some(4) && told(&run).contains("does not hold their lines"), "{}", told(&run));
    }
    assert!(std::fs::read(place.path("0.jsonl")).unwrap() == before && !Path::new(&place.path("none.jsonl")).exists());
}

/// Of a shard that has nothing but broken images, the others decide whether that is all there is.
#[test]
fn a_shard_of_broken_images_is_done() {
    let place = Place::of(2);
    std::fs::write(place.path("images/digit-2.png"), "no image").unwrap();
    std::fs::create_dir(place.path("images/digit-3.png")).unwrap();
    let words = "-m vanilla --metrics complexity";
    (0..3).for_each(|n| done(&place.evaluate(&format!("{words} --shard {n}/3 --state {n}.wls"))));
    done(&place.run("merge 0.wls 1.wls 2.wls -q --json out.json"));
    let report = place.json("out.json");
    assert_eq!((&report["done"], &report["results"][0]["samples"]), (&3.into(), &2.into()), "{report}");
    std::fs::remove_file(place.path("images/digit-0.png")).unwrap();
    std::fs::remove_file(place.path("images/digit-1.png")).unwrap();
    assert_eq!(place.evaluate(words).status.code(), Some(4), "alone it is an error");
}

/// Quiet is quiet, but for what could not be used.
#[test]
fn nothing_but_errors_is_told_where_nothing_else_is_wanted() {
    let place = Place::of(1);
    let warned = "-m vanilla --metrics monotonicity --compat quantus";
    let model = models().join("digits-cnn.onnx");
    assert!(
        told(&place.run(&format!("evaluate {} images {warned}", model.display()))).contains("warning: monotonicity")
    );
    let run = place.evaluate(warned);
    assert!(run.status.success() && run.stderr.is_empty() && run.stdout.is_empty(), "{}", told(&run));
    std::fs::write(place.path("images/broken.png"), "no image").unwrap();
    let run = place.evaluate("-m vanilla --metrics complexity");
    assert!(run.status.success() && told(&run).contains("broken.png"), "{}", told(&run));
}

#[test]
fn what_has_no_score_is_counted_by_method() {
    let place = Place::of(2);
    let model = models().join("digits-cnn.onnx");
    let run =
        place.run(&format!("evaluate {} images -m vanilla,gxi --metrics pointing-game,complexity", model.display()));
    let printed = text(&run.stdout);
    assert!(printed.contains("without a score: 2 of pointing-game: there is no mask"), "{printed}");
    // From the image itself nothing is integrated.
    let words = "-m vanilla,ig -p steps=2 -p baseline=images/digit-0.png --metrics complexity";
    let run = place.run(&format!("evaluate {} images {words}", model.display()));
    let printed = text(&run.stdout);
    assert!(printed.contains("without a score: 1 by integrated-gradients of complexity"), "{printed}");
}

/// A line of a table is found by its number, whatever else is empty, and a quote that stays open in any column is seen.
#[test]
fn lines_of_a_table_have_the_numbers_that_editors_give_them() {
    let place = Place::of(2);
    for (table, said) in [
        ("0.png,0\n\n\n1.png\n", "line 4"),
        ("\n\n0.png,\n", "line 3"),
        ("0.png,0\r1.png,\r", "line 2"),
        ("0.png,0\r\n\r\n1.png,\r\n", "line 3"),
        ("0.png,0,\"note\n1.png,1\n", "line 1 has a field of several lines"),
    ] {
        std::fs::write(place.path("labels.csv"), table).unwrap();
        let run = place.evaluate("-m vanilla --metrics complexity --labels labels.csv");
        assert!(run.status.code() == Some(4) && told(&run).contains(said), "{table:?}: {}", told(&run));
    }
}
