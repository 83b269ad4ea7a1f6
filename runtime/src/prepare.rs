//! From what a method needs to sessions that can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{
    Counting, Engine, Isa, Packs, Plans, Precision, Reads, Remembered, Remembering, Resources, Runner, Session, Spare,
};
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::gradient::biases::{Bias, find_biases, implicit_biases};
use crate::gradient::composite::Kind;
use crate::gradient::head::Head;
use crate::gradient::layers::Layer;
use crate::load::{Loaded, Wanted};
use crate::methods::{Extents, Method, Needs, Taps};
use crate::onnx::{Change, Layout, Shuffles, layers};

/// What methods of a model share: weights, and those that need the same of it, its plans and passes at the explained
/// input. Where a method of another model comes, what was shared of the one before is forgotten.
#[derive(Default)]
pub struct Shared {
    /// Which model all this is of.
    model: Option<u64>,
    prepared: Vec<Arc<Prepared>>,
    packs: Vec<Packs>,
    shuffles: Shuffles,
    spare: Spare,
    points_in_a_row: bool,
    /// The changes that the next model will have, at the same input, and the steps of the latest.
    announced: Option<(Vec<Change>, Steps)>,
    upcoming: Option<Vec<Change>>,
}

/// What takes the same steps.
type Steps = (Needs, Option<String>, Precision, Engine, u64);

/// A model, planned for what a method needs.
pub(crate) struct Prepared {
    needs: Needs,
    changes: Vec<Change>,
    layer: Option<String>,
    precision: Precision,
    pub engine: Engine,
    pub plans: Arc<Plans>,
    pub remembered: Arc<Remembered>,
    pub composite: String,
    pub head: Head,
    pub logits: String,
    pub implicit: Vec<Bias>,
    pub warnings: Vec<String>,
    /// Of a model with changes: how far its passes are those of models with others, and which steps they take.
    reads: Option<(Reads, u64)>,
}

impl Prepared {
    fn steps(&self, outline: u64) -> Steps {
        (self.needs.clone(), self.layer.clone(), self.precision, self.engine, outline)
    }
}

/// A session, and what is known of what it hands out.
pub(crate) struct Part<'a> {
    pub session: Remembering<Counting<'a, Runner<'a>>>,
    pub prepared: Arc<Prepared>,
    pub layer: Option<Layer>,
    pub biases: Vec<Bias>,
}

impl Loaded {
    /// The layer that a need looks at.
    pub(crate) fn layer_for(&self, needs: &Needs) -> Result<Option<Layer>> {
        (needs.taps == Taps::Layer).then(|| self.layer(needs.layer.as_deref())).transpose()
    }

    /// What a method's cost depends on.
    pub(crate) fn extents(&self, method: &dyn Method) -> Result<Extents> {
        let mut channels = 0;
        for needs in [Some(method.needs()), method.also()].into_iter().flatten() {
            let layer = self.layer_for(&needs)?;
            channels = layer.and_then(|l| l.layout.split(&l.shape)).map_or(channels, |(channels, ..)| channels);
        }
        let input = self.input_shape()?.iter().product();
        let head = self.head()?;
        method.reads(head)?;
        Ok(Extents { input, classes: head.choice.map_or(self.classes()?, |choice| choice.classes), channels })
    }

    /// Derives all graphs that a method needs, and throws them away; says what its cost depends on.
    ///
    /// Errors: nodes without a rule, or no such layer.
    pub(crate) fn admits(&self, method: &dyn Method) -> Result<Extents> {
        for needs in [Some(method.needs()), method.also()].into_iter().flatten() {
            let layer = self.layer_for(&needs)?;
            let (wanted, _) = wanted((self, &[]), &mut Shuffles::default(), &needs, layer.as_ref())?;
            self.derive(&wanted)?;
        }
        self.extents(method)
    }
}

/// The gradient graph that a need means, and the biases that it looks at.
fn wanted(
    (loaded, changes): (&Loaded, &[Change]),
    shuffles: &mut Shuffles,
    needs: &Needs,
    layer: Option<&Layer>,
) -> Result<(Wanted, Vec<Bias>)> {
    if needs.weights && loaded.ready_made.is_some() {
        return Err(Error::usage("noise on weights wants the forward model, not a gradient graph"));
    }
    let biases = match (needs.taps, &loaded.ready_made) {
        (Taps::Biases { .. }, None) => {
            find_biases(loaded.changed(changes, shuffles)?.as_ref(), loaded.output(), loaded.layout()?)?
        }
        (Taps::Biases { .. }, Some(_)) => {
            return Err(Error::usage("the method wants the forward model, not a gradient graph"));
        }
        _ => vec![],
    };
    let taps = layer.iter().map(|l| l.name.clone()).chain(biases.iter().map(|b| b.value.clone())).collect();
    let (composite, settings) = (needs.composite, needs.settings.clone());
    let input_gradient = needs.taps != Taps::Layer;
    let implicit_biases = needs.taps == Taps::Biases { implicit: true };
    Ok((Wanted { composite, settings, taps, implicit_biases, input_gradient, changes: changes.to_vec() }, biases))
}

/// Bytes of perturbed weights, which stand beside the model's own: as they are drawn, and as a plan has them.
pub(crate) fn perturbed(needs: &Needs, plans: &Plans) -> usize {
    if needs.weights { 2 * plans.memory().weights } else { 0 }
}

/// Of steps that run on tract, how many are named.
const NAMED: usize = 5;

impl<'a> Part<'a> {
    /// Prepares what a method needs of a model with some changes, at a layer where it looks at one.
    pub fn new(
        (loaded, changes): (&'a Loaded, &[Change]),
        shared: &mut Shared,
        needs: &Needs,
        layer: Option<Layer>,
        precision: Precision,
        resources: Resources,
    ) -> Result<Part<'a>> {
        shared.turn_to(loaded);
        let (wanted, mut biases) = wanted((loaded, changes), &mut shared.shuffles, needs, layer.as_ref())?;
        let prepared = shared.prepared(loaded, needs, &wanted, layer.as_ref(), (precision, resources))?;
        biases.extend_from_slice(&prepared.implicit);
        let other = perturbed(needs, &prepared.plans);
        let left = resources.memory.map(|most| most.saturating_sub(other));
        let on_tract = prepared.plans.fallbacks();
        if left.is_some() && !on_tract.is_empty() {
            let more = if on_tract.len() > NAMED { ", ..." } else { "" };
            return Err(Error::usage(format!(
                "memory can't be bounded: {} steps have no kernel, and tract takes for them what it takes ({}{more}); leave the \
                 bound out, or replace them when exporting the model",
                on_tract.len(),
                on_tract[..on_tract.len().min(NAMED)].join(", ")
            )));
        }
        let resources = Resources { memory: left, ..resources };
        shared.branch(&prepared);
        let mut session = Runner::of(&prepared.plans, || loaded.derive(&wanted), resources, &mut shared.spare)?;
        if needs.weights {
            session.allow_reweighing(Box::new(move |noise| {
                let mut wanted = wanted.clone();
                wanted.changes.push(Change::Noise(noise));
                loaded.derive(&wanted)
            }));
        }
        let session = Remembering::new(Counting::new(session), prepared.remembered.clone());
        Ok(Part { session, prepared, layer, biases })
    }

    /// Leaves its arenas to others.
    pub fn leave(self, shared: &mut Shared) {
        self.session.inner.into_inner().leave(&mut shared.spare);
    }

    /// The plans, with the weights' own values.
    pub fn plans(&self) -> &Plans {
        &self.prepared.plans
    }

    /// Weights and arenas.
    pub fn bytes(&self) -> usize {
        self.plans().memory().weights + self.session.threads() * self.plans().arena_bytes()
    }

    /// Where the tapped layer's channels are.
    pub fn layer_layout(&self) -> Option<Layout> {
        self.layer.as_ref().map(|l| l.layout)
    }
}

impl Shared {
    /// For methods whose model will be asked for scores at many points in a row that differ little from each other, as metrics
    /// do: what stays the same from one to the next is kept, in up to twice the memory of an arena.
    pub fn for_points_in_a_row() -> Shared {
        Shared { points_in_a_row: true, ..Shared::default() }
    }

    /// Forgets what is of another model.
    fn turn_to(&mut self, loaded: &Loaded) {
        if self.model.is_some_and(|model| model != loaded.id) {
            self.truncate(0);
            (self.announced, self.upcoming) = (None, None);
            self.spare.trunk.cut();
        }
        self.model = Some(loaded.id);
    }

    fn prepared(
        &mut self,
        loaded: &Loaded,
        needs: &Needs,
        wanted: &Wanted,
        layer: Option<&Layer>,
        (precision, resources): (Precision, Resources),
    ) -> Result<Arc<Prepared>> {
        let engine = resources.engine;
        let name = layer.map(|l| l.name.clone());
        let same = |p: &&Arc<Prepared>| {
            (&p.needs.composite, &p.needs.settings, p.needs.taps) == (&needs.composite, &needs.settings, needs.taps)
                && p.layer == name
                && p.changes == wanted.changes
                && (p.precision, p.engine) == (precision, engine)
        };
        if let Some(known) = self.prepared.iter().find(same) {
            return Ok(known.clone());
        }
        let derived = loaded.derive_sharing(wanted, &mut self.shuffles)?;
        let implicit = match wanted.implicit_biases {
            true => {
                let typed = loaded.changed(&wanted.changes, &mut self.shuffles)?;
                implicit_biases(typed.as_ref(), loaded.output(), loaded.layout()?, &derived.taps[wanted.taps.len()..])?
            }
            false => vec![],
        };
        // Where memory is bounded, other parts and threads are worth more.
        let plan = match self.points_in_a_row && resources.memory.is_none() {
            true => Plans::keeping,
            false => Plans::sharing,
        };
        let plans = Arc::new(plan(&derived, self.packs(loaded, precision))?);
        let model = &loaded.typed.graph;
        let prepared = Arc::new(Prepared {
            reads: (!wanted.changes.is_empty()).then(|| (plans.reads(model, &layers(model)), plans.outline())),
            implicit,
            needs: needs.clone(),
            changes: wanted.changes.clone(),
            layer: name,
            precision,
            engine,
            plans,
            remembered: Arc::default(),
            warnings: warnings(loaded, &derived, needs, engine),
            composite: derived.composite,
            head: loaded.head_of(derived.head)?,
            logits: derived.logits,
        });
        self.prepared.push(prepared.clone());
        Ok(prepared)
    }

    /// Says which changes the model will have that comes after the next one, and is asked at the same input.
    pub(crate) fn announce(&mut self, changes: Option<Vec<Change>>) {
        self.upcoming = changes;
    }

    /// Lets the next session go on from where the latest has left what both models share, and leave what it shares with the one
    /// that comes then.
    fn branch(&mut self, prepared: &Prepared) {
        let (announced, upcoming) = (self.announced.take(), self.upcoming.take());
        let Some((reads, outline)) = &prepared.reads else { return self.spare.trunk.cut() };
        let steps = prepared.steps(*outline);
        let goes_on = announced.is_some_and(|(changes, of)| changes == prepared.changes && of == steps);
        let shared = |next: &Vec<Change>| match Change::layers_apart(&prepared.changes, next) {
            Some(layers) => reads.before(layers),
            None => 0,
        };
        self.spare.trunk.pass_on(goes_on, upcoming.as_ref().map_or(0, shared));
        self.announced = upcoming.map(|changes| (changes, steps));
    }

    /// Bytes of what is kept to be shared, each counted once.
    pub(crate) fn bytes(&self) -> usize {
        let weights: BTreeMap<usize, usize> = self.prepared.iter().flat_map(|p| p.plans.weights()).collect();
        let packed_from = self.shuffles.bytes() + self.packs.iter().map(Packs::bytes).sum::<usize>();
        weights.values().sum::<usize>() + packed_from + self.spare.bytes()
    }

    /// How many plans are kept.
    pub(crate) fn plans(&self) -> usize {
        self.prepared.len()
    }

    /// Keeps no more than the first plans, and nothing for those to come.
    pub(crate) fn truncate(&mut self, plans: usize) {
        self.prepared.truncate(plans);
        (self.packs, self.shuffles) = (vec![], Shuffles::default());
    }

    /// What is packed in a precision.
    fn packs(&mut self, loaded: &Loaded, precision: Precision) -> &mut Packs {
        let isa = Isa::best();
        let known = self.packs.iter().position(|packs| packs.precision() == precision.here(isa));
        let at = known.unwrap_or_else(|| {
            self.packs.push(Packs::new(precision, isa).knowing(loaded.types.clone()));
            self.packs.len() - 1
        });
        &mut self.packs[at]
    }
}

fn warnings(loaded: &Loaded, derived: &GradientGraph, needs: &Needs, engine: Engine) -> Vec<String> {
    let mut warnings = vec![];
    if engine != Engine::Kernels {
        let name = engine.name();
        warnings.push(format!("run by the engine '{name}', in memory that nobody bounds: the bytes are our kernels'"));
    }
    let labels = loaded.card.labels.len();
    let all = || loaded.places().ok().flatten().map(|places| places.classes).or(loaded.classes().ok());
    if let Some(classes) = all().filter(|classes| labels > 0 && *classes != labels) {
        warnings.push(format!("the card has {labels} labels for {classes} classes, so none is used"));
    }
    if !derived.flat.is_empty() {
        let list: Vec<String> = derived.flat.iter().map(|(node, op)| format!("{node} ({op})")).collect();
        warnings.push(format!("the derivative of {} is zero; nothing passes through", list.join(", ")));
    }
    if let Some(sharpness) = needs.settings.softplus {
        let count = derived.softened;
        warnings.push(format!(
            "the map and the scores are of the model with Softplus ({sharpness}) in place of {count} Relu"
        ));
    }
    if let Some((0, functions)) = derived.apart.filter(|(_, functions)| *functions > 0) {
        warnings.push(format!(
            "of none of the {functions} activations it is known what adds to them and what takes from them, so the map is that of \
             deeplift-rescale"
        ));
    }
    let changes = needs.composite.kind == Kind::Gradient && !needs.composite.rules.is_empty();
    if changes && derived.ruled == 0 && loaded.ready_made.is_none() {
        warnings.push(format!("no node has the rule '{}', so it changes nothing", needs.composite.name));
    }
    warnings
}
