//! `whyline compare`

use serde::Serialize;
use whyline_runtime::Kind;
use whyline_runtime::engine::Passes;
use whyline_runtime::explain::{CardSource, Explainer, Explanation, Loaded, Shared};
use whyline_runtime::files::write_atomically;
use whyline_runtime::image::grid::thumbnail;
use whyline_runtime::image::overlay::encode_png;
use whyline_runtime::image::{Picture, Style, draw, grid};
use whyline_runtime::methods::{Given, Status};
use whyline_runtime::onnx::Layout;
use whyline_runtime::record::{FileRecord, Record};

use super::inputs::{
    Making, budget, entries, files_of, for_method, given, is_bounded, is_of_the_method, read_input, refuse_unknown,
    resources, target,
};
use super::load::load;
use crate::args::CompareArgs;
use crate::failure::{Failure, INTERRUPTED, Outcome, about_input};
use crate::output;
use crate::{say, warn};

/// What is written beside the picture.
#[derive(Serialize)]
struct Records {
    /// Passes of all methods together.
    passes: Passes,
    /// Passes that methods shared.
    saved: Passes,
    records: Vec<Record>,
    /// Of all methods, those that are not defined for the model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Skipped {
    method: &'static str,
    reason: String,
}

/// Pixels of a tile's longer side, at most, where nobody has asked for another size.
const TILE: u32 = 1024;

/// What maps are drawn over.
struct Canvas {
    picture: Picture,
    layout: Layout,
    /// Of the model's input: height and width.
    extents: (usize, usize),
    zoom: Option<u32>,
}

impl Canvas {
    fn tile(&self, map: &[f32], signed: bool) -> Outcome<Picture> {
        let style = Style { colormap: output::colormap(signed), side_by_side: false, zoom: self.zoom };
        Ok(draw(map, self.extents, &self.picture, &style)?)
    }
}

/// What methods have given.
#[derive(Default)]
struct Sheet {
    /// Pictures under their titles.
    tiles: Vec<(String, Picture)>,
    records: Vec<Record>,
    skipped: Vec<Skipped>,
}

/// Runs it.
pub fn run(args: &CompareArgs) -> Outcome {
    let (given, entries) = (given(&args.params)?, entries(&args.methods)?);
    refuse_unknown(&given, &entries)?;
    let loaded = load_for(args, &given)?;
    let layout =
        loaded.layout()?.ok_or_else(|| Failure::usage("the model's input is no image, so there is nothing to draw"))?;
    let (material, file) = (read_input(&loaded, &args.input)?, FileRecord::of(&args.input).map_err(about_input)?);
    let picture = material.picture(&loaded, layout)?;
    // A camera's picture is as large as all of the others' sheets.
    let picture = if args.zoom.is_some() { picture } else { thumbnail(picture, TILE) };
    let (_, height, width) = layout.split(&loaded.input_shape()?).unwrap_or_default();
    let canvas = Canvas { picture, layout, extents: (height, width), zoom: args.zoom };
    let budget = budget(&args.budget);
    let making = Making {
        loaded: &loaded,
        precision: args.precision.precision(),
        resources: args.engine.of(resources(&args.resources)),
        budget,
        all: is_all(args),
        layer: args.params.layer.is_some(),
    };
    let mut sheet = Sheet::default();
    sheet.tiles.push(("input".to_string(), canvas.tile(&vec![0.0; height * width], true)?));
    let mut shared = Shared::default();
    for entry in entries {
        let own = for_method(&given, entry, is_bounded(&args.budget));
        match making.ready(&mut shared, entry, &own)? {
            Ok(explainer) => sheet.add(args, explainer, (&material.input, &file), &canvas)?,
            Err(reason) => sheet.skipped.push(Skipped { method: entry.name, reason }),
        }
        if budget.is_interrupted() {
            break;
        }
    }
    if loaded.card_source == CardSource::Assumed && material.picture.is_some() {
        warn!("the model has no card: pixels were scaled to 0..1; see --scale, --mean and --std");
    }
    if budget.is_interrupted() && sheet.records.is_empty() {
        return Err(Failure { message: "interrupted; nothing is explained yet".into(), code: INTERRUPTED });
    }
    sheet.write(args)?;
    match budget.is_interrupted() {
        true => Err(Failure { message: "interrupted; the methods so far are written".into(), code: INTERRUPTED }),
        false => Ok(()),
    }
}

/// The model, once it is known that what is written overwrites nothing that is read.
fn load_for(args: &CompareArgs, given: &Given) -> Outcome<Loaded> {
    if args.input.is_dir() {
        let reason = format!("{} is a folder; compare takes one image, and explain a folder", args.input.display());
        return Err(Failure::usage(reason));
    }
    let written = [Some(args.png.clone()), args.json.clone()];
    output::refuse_stdout(&written[..1], "a picture")?;
    output::refuse_overwriting(args.model.files().chain([&args.input]), &written)?;
    output::refuse_overwriting(&files_of(given)?, &written)?;
    let loaded = load(&args.model, Some(&args.preprocess))?;
    output::refuse_overwriting(&loaded.files, &written)?;
    output::refuse_unwritable(&written)?;
    Ok(loaded)
}

impl Sheet {
    /// A method's map. Of all methods, those that can't explain this input are left out, and named.
    fn add(
        &mut self,
        args: &CompareArgs,
        mut explainer: Explainer,
        (input, file): (&[f32], &FileRecord),
        canvas: &Canvas,
    ) -> Outcome {
        if let Some(watcher) = output::progress::watcher(explainer.passes()).filter(|_| !args.quiet) {
            explainer.watch(watcher);
        }
        let (entry, signed) = (explainer.entry(), explainer.signed());
        let Explanation { attribution, record } = match explainer.explain(input, file.clone(), &target(&args.target)) {
            // Some methods want one class as their target, others find nothing near this input.
            Err(error) if is_all(args) && (is_of_the_method(&error) || error.kind() == Kind::Input) => {
                let reason = output::in_a_line(&error.to_string());
                self.skipped.push(Skipped { method: entry.name, reason });
                return Ok(());
            }
            explained => explained?,
        };
        let flat = attribution.per_pixel(canvas.layout, signed)?;
        self.tiles.push((entry.title().to_string(), canvas.tile(&flat, signed)?));
        self.records.push(record);
        Ok(())
    }

    /// Writes the picture and the records, and prints what there is to say of them.
    fn write(self, args: &CompareArgs) -> Outcome {
        let Sheet { tiles, records, skipped } = self;
        // What no method explains is no fault of one of them.
        if let (true, Some(first)) = (records.is_empty(), skipped.first()) {
            let message = format!("no method explains it; {}: {}", first.method, first.reason);
            return Err(Failure { message, code: 4 });
        }
        let columns = args.columns.map_or_else(|| (tiles.len() as f64).sqrt().ceil() as usize, usize::from);
        let records = Records {
            passes: total(&records, |r| r.passes),
            saved: total(&records, |r| r.saved.unwrap_or_default()),
            records,
            skipped,
        };
        let json = output::to_json(&records)?;
        write_atomically(&args.png, &encode_png(&grid(&tiles, columns), &[("whyline", &json)])?)?;
        if let Some(path) = &args.json {
            output::write_text(path, &json)?;
        }
        if !args.quiet && !output::is_stdout(&args.json) {
            report(&records, args);
        }
        Ok(())
    }
}

fn total(records: &[Record], of: impl Fn(&Record) -> Passes) -> Passes {
    records.iter().map(of).fold(Passes::default(), Passes::plus)
}

fn is_all(args: &CompareArgs) -> bool {
    args.methods == ["all"]
}

fn report(records: &Records, args: &CompareArgs) {
    if let Some(first) = records.records.first() {
        let class = &first.target.class;
        let label = class.label.as_ref().map(|l| format!(" ({l})")).unwrap_or_default();
        say!("class {}{label}, {}", class.class, output::score(class));
    }
    for record in &records.records {
        let gap = record.completeness.map(|c| format!(", gap {:.3} %", 100.0 * c.relative_gap)).unwrap_or_default();
        let (passes, ms) = (record.passes.all(), record.timing.explain_ms);
        let degraded = if record.status == Status::Degraded { ", degraded" } else { "" };
        say!("{:<34} {passes:>5} passes {ms:>9.1} ms{gap}{degraded}", record.method);
    }
    for skipped in &records.skipped {
        say!("{:<34} not defined here: {}", skipped.method, skipped.reason);
    }
    for record in &records.records {
        record.warnings.iter().for_each(|w| warn!("{}: {w}", record.method));
    }
    let (taken, saved) = (&records.passes, &records.saved);
    say!("{} passes in all; {} were shared", taken.all(), saved.all());
    say!("wrote {}", args.png.display());
}
