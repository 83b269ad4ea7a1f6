//! What a prepared method is given before it explains: a budget, baselines, a region.

use std::time::{Duration, Instant};

use super::{Budget, Explainer, Target, with_target};
use crate::baseline::FILE;
use crate::engine::{Limit, Passes, Session};
use crate::error::{Error, Result};
use crate::record::FileRecord;
use crate::values::first_infinite;

impl Explainer<'_> {
    /// Explanations keep to this from now on. For a deadline a forward and a gradient pass are taken here, and where few
    /// passes are the least that can be done, or the deadline is near, all that, at an input of zeros, so that it is known how long it takes; again, where it
    /// takes too long.
    ///
    /// Errors: a budget of fewer passes than the method's least, or of less time than those take.
    pub fn set_budget(&mut self, budget: Budget) -> Result<()> {
        let least = with_target(self.method.least(self.model));
        let told = format!("{} gradient and {} forward", least.gradient, least.forward);
        if let Some(most) = budget.max_passes.filter(|most| least.all() > *most) {
            let all = least.all();
            let name = self.entry.name;
            let reason = format!("{name} takes {all} passes ({told}) at least, more than the {most} that are allowed");
            return Err(Error::Budget { reason });
        }
        if let Some(deadline) = budget.deadline {
            let mut seconds = f64::INFINITY;
            // What disturbs one measurement is no reason to refuse.
            for _ in 0..MEASURED {
                seconds = self.least_seconds(least, deadline)?.min(seconds);
                if seconds <= deadline.as_secs_f64() {
                    break;
                }
            }
            if seconds > deadline.as_secs_f64() {
                let reason = format!(
                    "{} takes {told} passes at least, about {:.1} ms here with what it makes of them; the deadline leaves {:.1} ms",
                    self.entry.name,
                    1e3 * seconds,
                    1e3 * deadline.as_secs_f64()
                );
                return Err(Error::Budget { reason });
            }
        }
        self.budget = budget;
        Ok(())
    }

    /// How long the method's least takes: as passes do, and where these are few and fit into the deadline, with what the method makes
    /// of them.
    fn least_seconds(&mut self, least: Passes, deadline: Duration) -> Result<f64> {
        let input = vec![0.0; self.model.input];
        let session = &mut self.part.session.inner;
        session.reset(Limit::default());
        session.forget_pace();
        let seed = vec![1.0; session.forward(&input)?.len()];
        session.gradient(&input, &seed)?;
        let seconds = session.seconds(least);
        if seconds > deadline.as_secs_f64() || (least.all() > TRIED && AMPLE * seconds < deadline.as_secs_f64()) {
            return Ok(seconds);
        }
        // What was tried before is done anew.
        self.forget();
        let budget = Budget { max_passes: Some(least.all()), deadline: None, ..self.budget };
        let budget = std::mem::replace(&mut self.budget, budget);
        let start = Instant::now();
        // Of zeros there may be no map: then nothing is known but how long passes take.
        let done = self.attribute(&input, &Target::Class(0)).is_ok();
        let whole = start.elapsed().as_secs_f64();
        self.budget = budget;
        self.part.session.inner.settle();
        Ok(if done { whole.max(seconds) } else { seconds })
    }

    /// Gives the method baselines of the caller's own, each row-major in the model's shape; its parameter `baseline` must say
    /// `file:NAME`, whatever the name, and nothing is read.
    ///
    /// Errors: a method that is told another baseline, or has none; values of another length, or that are not finite.
    pub fn set_baselines(&mut self, baselines: Vec<(FileRecord, Vec<f32>)>) -> Result<()> {
        if !baselines.is_empty() {
            self.must_name("baseline", "baselines")?;
        }
        let len: usize = self.loaded.input_shape()?.iter().product();
        for (file, values) in &baselines {
            if values.len() != len || first_infinite(values).is_some() {
                let reason = match first_infinite(values) {
                    Some(at) => format!("is no baseline: element {at} is {}, and finite ones are wanted", values[at]),
                    None => format!("is no baseline: it has {} values, and {len} are wanted", values.len()),
                };
                return Err(Error::Input { path: file.file.clone().into(), reason });
            }
        }
        (self.baseline_files, self.baselines) = baselines.into_iter().unzip();
        Ok(())
    }

    /// Gives the method a region of the caller's own: whether each pixel, row by row, is of it; its parameter `region` must say
    /// `file:NAME`, whatever the name, and nothing is read.
    ///
    /// Errors: a method that is told another region, or has none; another number of pixels.
    pub fn set_region(&mut self, file: FileRecord, marked: Vec<bool>) -> Result<()> {
        self.must_name("region", "a region")?;
        self.loaded.pixels(&file, &marked)?;
        self.region = Some((file, marked));
        Ok(())
    }

    /// Refuses what the method would not look at.
    fn must_name(&self, parameter: &str, what: &str) -> Result<()> {
        let named = self.params.all().get(parameter).is_some_and(|value| value.starts_with(FILE));
        let name = self.entry.name;
        match named {
            true => Ok(()),
            false => Err(Error::usage(format!("{name} takes {what} only with the parameter {parameter}=file:NAME"))),
        }
    }
}

/// Of more passes than these, what is made of them is little beside them, and doing it all beforehand would take as long again.
const TRIED: u64 = 8;

/// But where the deadline leaves no more than so many times what they take, that may be too little.
const AMPLE: f64 = 4.0;

/// How often passes are measured before a deadline is refused.
const MEASURED: usize = 3;
