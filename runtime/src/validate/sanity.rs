//! Whether maps depend on what the model has learned: layers are randomised one after the other, from the top (Adebayo et al.
//! 2018), and a map that stays nearly the same says little of this model.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Check, Finding, NO_METHOD, Scene};
use crate::error::Result;
use crate::evaluate::{Effort, Evaluation, Marked, Measure, Subjected};
use crate::explain::Target;
use crate::params::{Given, Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "sanity",
    passes_when: "maps change when the model's layers are randomised, one after the other",
    parameters: &[
        Parameter {
            name: "similarity",
            default: "0.6",
            help: "Spearman's correlation of the magnitudes with those of the model as it is, at most, in the mean over stages",
        },
        Parameter { name: "stages", default: "8", help: "of randomising" },
        Parameter { name: "seed", default: "0", help: "of the random orders" },
    ],
    run,
};

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    if scene.loaded.ready_made.is_some() {
        return Ok(Finding::skipped("a gradient graph's weights stand in both its parts; take the forward model"));
    }
    if !scene.loaded.head()?.is_of_the_image(scene.loaded.classes()?) {
        return Ok(Finding::skipped(
            "scores are of places, and outside of its own field a place's map is zero whatever the weights are",
        ));
    }
    let most = params.size("similarity")?;
    let told: Given = ["stages", "seed"].map(|name| (name.to_string(), params.text(name).to_string())).into();
    Measure::new("mprt", &told)?.admits(scene.loaded)?;
    let (mut all, mut reasons) = (BTreeMap::new(), vec![]);
    let looked = scene.each(&mut reasons, |method, reasons| {
        let measures = vec![Measure::new("mprt", &told)?];
        let explainers = vec![scene.explainer(method)?];
        let effort = Effort::beside(&explainers, scene.resources.memory);
        let mut evaluation = Evaluation::new(explainers, measures, effort)?;
        for input in &scene.inputs {
            let (file, target) = (input.file.clone(), Target::Top);
            let sample = Subjected { input: &input.values, file, marked: &Marked::Nothing, mosaic: false, target };
            evaluation.push(&sample)?.into_iter().collect::<Result<Vec<_>>>()?;
        }
        let Some(row) = evaluation.rows.first() else { return Ok(()) };
        let (name, scores) = (row.explainer.entry().name, row.scores[0].scores());
        let score = Some(scores.moments()).filter(|moments| moments.count() > 0).map(|moments| moments.mean());
        match score {
            Some(similarity) if similarity <= most => {}
            Some(similarity) => {
                reasons.push(format!("{name} hardly changes: correlation {similarity:.2}, more than {most}"))
            }
            None => {
                let why: Vec<String> =
                    scores.undefined().map(|(why, count)| format!("{} ({count})", why.text())).collect();
                reasons.push(format!("{name}: no map could be compared: {}", why.join(", ")));
            }
        }
        all.insert(name, score);
        Ok(())
    })?;
    if looked == 0 {
        return Ok(Finding::skipped(NO_METHOD));
    }
    let highest = all.iter().filter_map(|(name, score)| Some((name, (*score)?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let summary = highest.map_or("no map has an order".into(), |(name, score)| {
        format!("correlation with randomised models' maps {score:.2} at most ({name})")
    });
    Ok(Finding::of(summary, reasons, json!({ "similarity": all })))
}
