//! The metrics of explanations: one file each, one line in [`METRICS`].
//!
//! A metric sees one sample at a time: its input, its map, a mask if there is one, and a [`Subject`] that gives scores at other
//! inputs and explains them. It knows no method. What is kept of the samples is a fixed number of bytes
//! ([`Tally`]).

mod attribution_localisation;
mod avg_sensitivity;
mod cells;
mod completeness;
mod complexity;
mod consistency;
mod continuity;
mod curves;
mod deletion;
mod effective_complexity;
mod efficient_mprt;
mod faithfulness_correlation;
mod faithfulness_estimate;
mod focus;
mod infidelity;
mod input_invariance;
mod insertion;
mod irof;
mod local_lipschitz;
mod max_sensitivity;
mod monotonicity;
mod monotonicity_correlation;
mod mprt;
mod neighbours;
mod non_sensitivity;
mod patches;
mod pixel_flipping;
mod pointing_game;
pub mod quantus;
mod random_logit;
mod region_perturbation;
mod relative_input_stability;
mod relative_output_stability;
mod relative_representation_stability;
mod relative_stability;
mod relevance_mass;
mod relevance_rank;
mod road;
mod roc_auc;
mod sample;
mod selectivity;
mod sensitivity_n;
mod similarity;
mod smooth_mprt;
mod sparseness;
mod subsets;
mod sufficiency;
mod tally;
mod top_k_intersection;

pub use crate::attribution::Grid;
pub use sample::{Explained, Output, Sample, Subject};
pub use tally::{Observation, Tally};
pub use whyline_stream::scores::Scores;
pub use whyline_stream::undefined::Undefined;

use crate::error::{Error, Result};
use crate::gradient::head::{Head, Link};
use crate::params::{Given, Parameter, Params};

/// Every metric, in the order that lists show them.
pub const METRICS: &[&Entry] = &[
    &faithfulness_correlation::ENTRY,
    &faithfulness_estimate::ENTRY,
    &monotonicity::ENTRY,
    &monotonicity_correlation::ENTRY,
    &pixel_flipping::ENTRY,
    &region_perturbation::ENTRY,
    &selectivity::ENTRY,
    &sensitivity_n::ENTRY,
    &irof::ENTRY,
    &infidelity::ENTRY,
    &sufficiency::ENTRY,
    &road::ENTRY,
    &deletion::ENTRY,
    &insertion::ENTRY,
    &local_lipschitz::ENTRY,
    &max_sensitivity::ENTRY,
    &avg_sensitivity::ENTRY,
    &continuity::ENTRY,
    &consistency::ENTRY,
    &relative_input_stability::ENTRY,
    &relative_output_stability::ENTRY,
    &relative_representation_stability::ENTRY,
    &pointing_game::ENTRY,
    &attribution_localisation::ENTRY,
    &top_k_intersection::ENTRY,
    &relevance_rank::ENTRY,
    &relevance_mass::ENTRY,
    &roc_auc::ENTRY,
    &focus::ENTRY,
    &sparseness::ENTRY,
    &complexity::ENTRY,
    &effective_complexity::ENTRY,
    &mprt::ENTRY,
    &smooth_mprt::ENTRY,
    &efficient_mprt::ENTRY,
    &random_logit::ENTRY,
    &completeness::ENTRY,
    &non_sensitivity::ENTRY,
    &input_invariance::ENTRY,
];

/// A metric's line in the table.
#[derive(Debug)]
pub struct Entry {
    /// As the command line and records name it.
    pub name: &'static str,
    /// Other names it goes by.
    pub aliases: &'static [&'static str],
    /// What it asks of an explanation.
    pub family: Family,
    /// One line for people.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// Which scores are good.
    pub better: Better,
    /// What samples must have.
    pub wants: Wants,
    /// What it can be told.
    pub parameters: &'static [Parameter],
    /// Makes it.
    pub build: fn(&Params) -> Result<Box<dyn Observer>>,
}

/// What a metric asks of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Whether what it marks is what the model uses.
    Faithfulness,
    /// Whether it stays where the input hardly changes.
    Robustness,
    /// Whether it marks the object.
    Localisation,
    /// Whether it is short.
    Complexity,
    /// Whether it depends on the model and the class.
    Randomisation,
    /// Whether it keeps what it promises.
    Axiomatic,
}

impl Family {
    /// Every family, as lists show them.
    pub const ALL: [Family; 6] = [
        Family::Faithfulness,
        Family::Robustness,
        Family::Localisation,
        Family::Complexity,
        Family::Randomisation,
        Family::Axiomatic,
    ];

    /// As lists show it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Faithfulness => "faithfulness",
            Family::Robustness => "robustness",
            Family::Localisation => "localisation",
            Family::Complexity => "complexity",
            Family::Randomisation => "randomisation",
            Family::Axiomatic => "axiomatic",
        }
    }
}

/// What samples must have for a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// A mask of the object.
    Mask,
    /// To be mosaics.
    Mosaic,
}

/// Which scores are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Large ones.
    Higher,
    /// Small ones.
    Lower,
}

impl Better {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Better::Higher => "higher",
            Better::Lower => "lower",
        }
    }
}

/// What one sample takes beside its own explanation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Forward passes.
    pub forward: u64,
    /// Further explanations.
    pub explanations: u64,
}

impl Cost {
    /// So many forward passes.
    pub fn forward(forward: u64) -> Cost {
        Cost { forward, explanations: 0 }
    }

    /// So many further explanations.
    pub fn explanations(explanations: u64) -> Cost {
        Cost { forward: 0, explanations }
    }
}

/// What is made of a sample, or why there is none.
pub type Defined<T> = std::result::Result<T, Undefined>;

/// A sample's score, or why it has none.
pub type Score = Defined<f64>;

/// What of a model decides whether a metric can be measured.
pub struct Model<'a> {
    /// Of its input.
    pub grid: Grid,
    /// How its scores are to be read.
    pub head: Head,
    /// How many scores it gives.
    pub scores: usize,
    /// Whether its weights can be changed: not those of a gradient graph.
    pub changes: bool,
    /// Whether a layer's values can be read: of the one named, or of the last that has an image.
    pub layer: &'a dyn Fn(Option<&str>) -> Result<()>,
}

impl Model<'_> {
    /// Refuses a model whose weights cannot be changed.
    pub fn must_change(&self) -> Result<()> {
        match self.changes {
            true => Ok(()),
            false => Err(Error::usage("it wants the forward model, not a gradient graph")),
        }
    }

    /// Refuses a model whose scores have no probabilities.
    pub fn must_have_probabilities(&self) -> Result<()> {
        match self.head.link {
            Link::None => Err(Error::usage("the model's scores have no probabilities; tell it output=logit")),
            _ => Ok(()),
        }
    }

    /// Refuses a model whose scores decide for no class.
    pub fn must_choose(&self) -> Result<()> {
        self.head.must_choose().map(drop)
    }

    /// Refuses a model that scores places or boxes, each of which sees a part of the image: outside of it a map is zero whatever the
    /// weights are.
    pub fn must_score_the_image(&self) -> Result<()> {
        match self.head.is_of_the_image(self.scores) {
            true => Ok(()),
            false => Err(Error::usage(
                "a score of one place has a map of zeros outside of its own field, whatever the weights are; take places together \
                 with --over all",
            )),
        }
    }

    /// Refuses a model whose input is no image.
    pub fn must_see(&self) -> Result<()> {
        match self.grid.layout {
            Some(_) => Ok(()),
            None => Err(Error::usage("it wants an image input")),
        }
    }
}

/// What is noted of a sample, or why nothing is.
pub type Observed = Defined<Observation>;

/// A metric with its parameters: one that scores each sample alone ([`Metric`]), or one that compares samples.
pub trait Observer: Send {
    /// What a sample takes at most.
    fn cost(&self, _grid: &Grid) -> Cost {
        Cost::default()
    }
    /// Refuses a model of which it can never be measured, and says why.
    fn admits(&self, _model: &Model) -> Result<()> {
        Ok(())
    }
    /// Whether it is a mean of random draws, which takes no more once its standard error is as small as is wanted.
    fn ends_early(&self) -> bool {
        false
    }
    /// What is kept of samples, of none yet.
    fn tally(&self) -> Tally;
    /// What is noted of a sample.
    ///
    /// Errors: the model or a method failed.
    fn observe(&self, sample: &mut Sample) -> Result<Observed>;
}

impl<M: Metric> Observer for M {
    fn cost(&self, grid: &Grid) -> Cost {
        Metric::cost(self, grid)
    }

    fn admits(&self, model: &Model) -> Result<()> {
        Metric::admits(self, model)
    }

    fn ends_early(&self) -> bool {
        Metric::ends_early(self)
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }

    fn observe(&self, sample: &mut Sample) -> Result<Observed> {
        Ok(self.measure(sample)?.map(Observation::Score))
    }
}

/// A metric that scores each sample alone.
pub trait Metric: Send {
    /// What a sample takes at most: nothing, unless a metric says otherwise.
    fn cost(&self, _grid: &Grid) -> Cost {
        Cost::default()
    }
    /// Refuses a model of which it can never be measured, and says why.
    fn admits(&self, _model: &Model) -> Result<()> {
        Ok(())
    }
    /// Whether it is a mean of random draws, which takes no more once its standard error is as small as is wanted.
    fn ends_early(&self) -> bool {
        false
    }
    /// The score of one sample's map.
    ///
    /// Errors: the model or a method failed; what is merely undefined is a score of its own.
    fn measure(&self, sample: &mut Sample) -> Result<Score>;
}

impl Entry {
    /// Its parameters, where some are given.
    pub fn params(&self, given: &Given) -> Result<Params> {
        Params::new(self.name, self.parameters, given)
    }

    /// Which scores are good where it is told these parameters, `NAME=VALUE` with spaces between: of curves that take the least
    /// relevant first, the other ones.
    pub fn better_told(&self, parameters: &str) -> Better {
        match (parameters.split(' ').any(|word| word == curves::LEAST_FIRST), self.better) {
            (false, better) => better,
            (true, Better::Higher) => Better::Lower,
            (true, Better::Lower) => Better::Higher,
        }
    }

    /// With its defaults.
    pub fn default(&self) -> Result<Box<dyn Observer>> {
        (self.build)(&self.params(&Given::new())?)
    }
}

/// The metric of this name or alias.
pub fn find(name: &str) -> Result<&'static Entry> {
    METRICS.iter().find(|e| e.name == name || e.aliases.contains(&name)).copied().ok_or_else(|| {
        let names: Vec<&str> = METRICS.iter().map(|e| e.name).collect();
        Error::usage(format!("there is no metric '{name}'; there are {}", names.join(", ")))
    })
}
