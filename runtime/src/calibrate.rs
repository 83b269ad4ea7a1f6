//! Where integrated gradients' steps are best taken for a model, learned from inputs like those it will see (in the spirit
//! of RiemannOpt, Swain and Singhi 2024). Steps are narrow where gradients change much on the way from the baseline.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::baseline::Baseline;
use crate::engine::{PlanSession, Plans, Precision, Resources, Session};
use crate::error::{Error, Result};
use crate::gradient::target::top_seed;
use crate::load::{Loaded, Wanted};
use crate::methods::{Task, between};
use crate::onnx::card::StepsCard;
use crate::values::first_infinite;

/// Cells along the path, in each of which the change of the gradient is measured.
pub const CELLS: usize = 64;

/// Of the mean density, the least that a cell gets: what no input has shown may still happen.
const LEAST: f64 = 0.05;

/// Learns from input after input; keeps no more than a sum per cell.
pub struct Calibrator<'a> {
    loaded: &'a Loaded,
    session: PlanSession<'a>,
    baseline: Baseline,
    name: String,
    changes: [f64; CELLS],
    inputs: usize,
}

impl Loaded {
    /// Begins to learn, with paths that start at the baseline of this name.
    pub fn calibrator(&self, baseline: &str, resources: Resources) -> Result<Calibrator<'_>> {
        let wanted =
            "a baseline that is made of the input or of nothing: zero, a number, mean, blur, uniform or max-distance";
        let named = Baseline::named(baseline).filter(|b| *b != Baseline::Given);
        let named = named.ok_or_else(|| Error::usage(format!("calibration wants {wanted}, not '{baseline}'")))?;
        let plans = Arc::new(Plans::new(&self.derive(&Wanted::default())?, Precision::F32)?);
        let session = PlanSession::of(plans, resources)?;
        Ok(Calibrator {
            loaded: self,
            session,
            baseline: named,
            name: baseline.to_string(),
            changes: [0.0; CELLS],
            inputs: 0,
        })
    }
}

impl Calibrator<'_> {
    /// Passes that an input takes: a forward to find its top class, and a gradient at each end of a cell.
    pub const PASSES: u64 = 2 + CELLS as u64;

    /// Learns from an input, row-major in the model's shape: in each cell of its path, how much of its map's size changes.
    /// An input whose map is zero everywhere teaches nothing.
    pub fn learn(&mut self, input: &[f32]) -> Result<()> {
        if let Some(i) = first_infinite(input) {
            return Err(Error::bad_input(format!("holds {} at element {i}; it must be finite", input[i])));
        }
        let seed = top_seed(self.session.forward(input)?);
        let layout = self.loaded.layout()?;
        let mut task = Task { layout, ..Task::new(&mut self.session, input, &seed) };
        let baseline = self.baseline.values(&task.origin())?;
        let make = |i: usize, point: &mut [f32]| between(&baseline, input, i as f64 / CELLS as f64, point);
        let (mut last, mut changes) = (vec![0.0f32; input.len()], [0.0; CELLS]);
        let mut map = vec![0.0f64; input.len()];
        task.gradients_at(CELLS + 1, &make, &mut |i, pass| {
            for (at, (&g, (&x, &b))) in pass.input.iter().zip(input.iter().zip(&baseline)).enumerate() {
                let moved = x as f64 - b as f64;
                map[at] += g as f64 * moved / CELLS as f64;
                if i > 0 {
                    changes[i - 1] += ((g as f64 - last[at] as f64) * moved).abs();
                }
            }
            last.copy_from_slice(pass.input);
            Ok(ControlFlow::Continue(()))
        })?;
        let size: f64 = map.iter().map(|v| v.abs()).sum();
        if !size.is_finite() {
            return Err(Error::graph(
                "the map of an input has values that are not finite, of which nothing can be learned",
            ));
        }
        if size > 0.0 {
            self.changes.iter_mut().zip(changes).for_each(|(sum, change)| *sum += change / size);
            self.inputs += 1;
        }
        Ok(())
    }

    /// What was learned. A cell's share of the steps goes by the root of the change in it, which makes the sum over the cells
    /// of change times width least.
    pub fn steps(&self) -> Result<StepsCard> {
        if self.inputs == 0 {
            return Err(Error::usage("there was no input to learn from whose map is not zero everywhere"));
        }
        let roots = self.changes.map(f64::sqrt);
        let mean = roots.iter().sum::<f64>() / CELLS as f64;
        let density = roots.map(|r| (r + LEAST * mean).max(f64::MIN_POSITIVE));
        let total: f64 = density.iter().sum();
        let mut places = vec![0.0f32];
        let (mut cell, mut before) = (0, 0.0);
        for i in 1..CELLS {
            let wanted = total * i as f64 / CELLS as f64;
            while cell + 1 < CELLS && before + density[cell] < wanted {
                before += density[cell];
                cell += 1;
            }
            let inside = ((wanted - before) / density[cell]).clamp(0.0, 1.0);
            places.push(((cell as f64 + inside) / CELLS as f64) as f32);
        }
        places.push(1.0);
        Ok(StepsCard { places, inputs: self.inputs, baseline: self.name.clone() })
    }
}
