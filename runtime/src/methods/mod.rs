//! The attribution methods: one file each, one line in [`METHODS`].
//!
//! A method sees a [`Session`](crate::engine::Session) and nothing behind it. It says what the session must
//! be made with ([`Needs`]) and how many passes it will take before it takes any.

mod adversarial;
mod adversarial_gradient_integration;
mod blur_ig;
mod boundary_ig;
mod cam;
mod deconvnet;
mod deep_taylor;
mod deeplift_rescale;
mod deeplift_revealcancel;
mod eigen_cam;
mod excitation_backprop;
mod expected_gradients;
mod fullgrad;
mod fusiongrad;
mod grad_cam;
mod grad_cam_plus_plus;
mod gradient_shap;
mod gradient_x_input;
mod guided_backprop;
mod guided_grad_cam;
mod guided_ig;
mod hires_cam;
mod idgi;
mod integrated_gradients;
mod integrated_hessians;
mod layer_cam;
mod local;
mod lrp;
mod noise;
mod noisegrad;
mod path;
mod rectgrad;
mod refine;
mod saliency;
mod score_cam;
mod smooth_fullgrad;
mod smoothgrad;
mod smoothgrad_squared;
mod task;
mod vanilla;
mod vargrad;
mod x_grad_cam;

pub use crate::attribution::Status;
use crate::attribution::{Attribution, Completeness};
pub use crate::engine::Passes;
use crate::error::{Error, Result};
use crate::gradient::composite::{GRADIENT, Kind};
use crate::gradient::head::Head;
use crate::gradient::{Composite, Settings};

pub use crate::params::{Given, Parameter, Params};
pub use local::Local;
pub(crate) use path::between;
pub use task::Task;

/// Every method, in the order that lists show them.
pub const METHODS: &[&Entry] = &[
    &vanilla::ENTRY,
    &saliency::ENTRY,
    &gradient_x_input::ENTRY,
    &guided_backprop::ENTRY,
    &deconvnet::ENTRY,
    &rectgrad::ENTRY,
    &integrated_gradients::ENTRY,
    &blur_ig::ENTRY,
    &guided_ig::ENTRY,
    &idgi::ENTRY,
    &expected_gradients::ENTRY,
    &gradient_shap::ENTRY,
    &adversarial_gradient_integration::ENTRY,
    &boundary_ig::ENTRY,
    &deeplift_rescale::ENTRY,
    &deeplift_revealcancel::ENTRY,
    &fullgrad::ENTRY,
    &smooth_fullgrad::ENTRY,
    &lrp::ENTRY,
    &deep_taylor::ENTRY,
    &excitation_backprop::ENTRY,
    &smoothgrad::ENTRY,
    &smoothgrad_squared::ENTRY,
    &vargrad::ENTRY,
    &noisegrad::ENTRY,
    &fusiongrad::ENTRY,
    &integrated_hessians::ENTRY,
    &grad_cam::ENTRY,
    &grad_cam_plus_plus::ENTRY,
    &x_grad_cam::ENTRY,
    &hires_cam::ENTRY,
    &layer_cam::ENTRY,
    &eigen_cam::ENTRY,
    &guided_grad_cam::ENTRY,
    &score_cam::ENTRY,
];

/// A method's line in the table.
#[derive(Debug)]
pub struct Entry {
    /// As the command line and records name it.
    pub name: &'static str,
    /// Other names it goes by.
    pub aliases: &'static [&'static str],
    /// What kind of method it is.
    pub family: Family,
    /// One line for people.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// What identities it keeps, and what its values mean.
    pub properties: Properties,
    /// What it can be told.
    pub parameters: &'static [Parameter],
    /// Makes it.
    pub build: fn(&Params) -> Result<Box<dyn Method>>,
}

/// Kinds of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// One pass, under some rule.
    Gradient,
    /// Gradients along a way to the input.
    Path,
    /// A value taken apart layer by layer.
    Decomposition,
    /// Statistics over noisy copies.
    Noise,
    /// How features depend on each other.
    Interaction,
    /// Maps over a layer.
    Cam,
}

impl Family {
    /// As lists show it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Gradient => "gradient",
            Family::Path => "path",
            Family::Decomposition => "decomposition",
            Family::Noise => "noise",
            Family::Interaction => "interaction",
            Family::Cam => "cam",
        }
    }
}

/// What holds of a method's maps; tests and colours go by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Its values add up to the target's difference from the baseline.
    pub complete: bool,
    /// On a linear model it gives exactly `w * (x - baseline)`, or `w` if it is a gradient, whatever it draws.
    pub linear_exact: bool,
    /// It draws random numbers.
    pub stochastic: bool,
    /// Its values have signs that mean something.
    pub signed: bool,
}

/// What the session must be made with.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// The rules that hold in the backward pass.
    pub composite: &'static Composite,
    /// The numbers that they go by; the input's bounds are the model card's.
    pub settings: Settings,
    /// What is handed out on the way.
    pub taps: Taps,
    /// Which layer, where one is; the last that CAM methods can look at, if none is named.
    pub layer: Option<String>,
    /// Whether weights are to be perturbed.
    pub weights: bool,
}

/// Values in the model that a method looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taps {
    /// None: the input's gradient alone.
    None,
    /// One layer's value and gradient, in place of the input's.
    Layer,
    /// What every bias is added to, beside the input's gradient.
    Biases {
        /// Whether what ops have beside their slope counts as one.
        implicit: bool,
    },
}

/// What a method's cost depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Values of the input.
    pub input: usize,
    /// Classes that there are scores for.
    pub classes: usize,
    /// Channels of the layer, for methods that want one.
    pub channels: usize,
}

impl Extents {
    /// Of a usual classifier, for lists that go by no model: 224 x 224 pixels, 1,000 classes, a layer of 512 channels.
    pub const USUAL: Extents = Extents { input: 3 * 224 * 224, classes: 1000, channels: 512 };
}

impl Entry {
    /// A name that fits above a picture: its own, unless another is needed to be short.
    pub fn title(&self) -> &'static str {
        const LONG: usize = 24;
        if self.name.len() <= LONG { self.name } else { self.aliases.first().unwrap_or(&self.name) }
    }

    /// Its parameters, where some are given.
    pub fn params(&self, given: &Given) -> Result<Params> {
        Params::new(self.name, self.parameters, given)
    }

    /// With its defaults.
    pub fn default(&'static self) -> Result<Box<dyn Method>> {
        (self.build)(&self.params(&Given::new())?)
    }

    /// What it wants beside an input and its gradient, for people.
    pub fn wants(&'static self) -> Result<Vec<&'static str>> {
        let method = self.default()?;
        let mut wants = vec![];
        for needs in [Some(method.needs()), method.also()].into_iter().flatten() {
            wants.extend(match needs.taps {
                Taps::None => None,
                Taps::Layer => Some("a layer"),
                Taps::Biases { .. } => Some("every bias"),
            });
            wants.extend(needs.weights.then_some("perturbed weights"));
            wants.extend((needs.composite.kind != Kind::Gradient).then_some("a rule for every op"));
        }
        wants.extend(self.parameters.iter().any(|p| p.name == "baseline").then_some("a baseline"));
        Ok(wants)
    }
}

impl Needs {
    /// The input's gradient under a composite.
    pub fn of(composite: &'static Composite) -> Needs {
        Needs { composite, settings: Settings::default(), taps: Taps::None, layer: None, weights: false }
    }

    /// The gradient of the layer that the parameter `layer` names, in place of the input's.
    pub fn at_layer(composite: &'static Composite, params: &Params) -> Needs {
        let layer = Some(params.text("layer")).filter(|name| !name.is_empty() && *name != "last");
        Needs { taps: Taps::Layer, layer: layer.map(str::to_string), ..Needs::of(composite) }
    }
}

/// A method's result.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The map.
    pub attribution: Attribution,
    /// For methods that promise it.
    pub completeness: Option<Completeness>,
    /// For methods that average random draws: the standard error of the map's sum.
    pub standard_error: Option<f64>,
    /// Whether it is all that was asked for.
    pub status: Status,
}

impl Outcome {
    fn of(attribution: Attribution) -> Outcome {
        Outcome { attribution, completeness: None, standard_error: None, status: Status::Complete }
    }
}

/// An attribution method with its parameters.
pub trait Method: Send {
    /// What the session must be made with: the true gradient of the input, unless a method says otherwise.
    fn needs(&self) -> Needs {
        Needs::of(&GRADIENT)
    }
    /// How many passes [`Method::explain`] will take: one gradient, unless a method says otherwise. Never more, and fewer
    /// only where a tolerance is reached early.
    fn passes(&self, _model: Extents) -> Passes {
        Passes { forward: 0, gradient: 1 }
    }
    /// How many it takes before it can be stopped: all, unless a method works in steps.
    fn least(&self, model: Extents) -> Passes {
        self.passes(model)
    }
    /// A second preparation of the model that it needs.
    fn also(&self) -> Option<Needs> {
        None
    }
    /// How its map is made of one gradient, if it is: then gradients at many inputs can be taken side by side.
    fn local(&self) -> Option<Local> {
        None
    }
    /// Bytes of earlier passes' gradients that it keeps at most.
    fn keeps(&self, _model: Extents) -> usize {
        0
    }
    /// Whether its values have signs that mean something, where its parameters decide that.
    fn signed(&self) -> Option<bool> {
        None
    }
    /// Whether it explains the class's probability, whatever is asked for.
    fn explains_probability(&self) -> bool {
        false
    }
    /// Whether its random draws decide anything of such a model, where it draws.
    fn draws(&self, _model: Extents) -> bool {
        true
    }
    /// Refuses scores of which it can explain nothing, and says why.
    fn reads(&self, _head: Head) -> Result<()> {
        Ok(())
    }
    /// Whether it explains one class alone, and not by how much that is ahead of another.
    fn wants_one_class(&self) -> bool {
        false
    }
    /// The attribution of the task's target to its input.
    fn explain(&self, task: &mut Task) -> Result<Outcome>;
}

/// The method of this name or alias.
pub fn find(name: &str) -> Result<&'static Entry> {
    let named = |name: &str| METHODS.iter().find(|e| e.name == name || e.aliases.contains(&name)).copied();
    named(name).ok_or_else(|| {
        let names: Vec<&str> = METHODS.iter().map(|e| e.name).collect();
        // As somebody writes it who knows it from a paper or another program.
        let meant = named(&name.trim().to_lowercase().replace(['_', ' '], "-"));
        let meant = meant.map_or(String::new(), |entry| format!(" (did you mean {}?)", entry.name));
        Error::usage(format!("there is no method '{name}'{meant}; there are {}", names.join(", ")))
    })
}
