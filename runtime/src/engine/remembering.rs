//! A session that remembers its passes at one input, so that methods which ask for the same pass share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::session::{Gradient, Make, Passes, Session, Take, Tap};
use crate::error::Result;
use crate::onnx::WeightNoise;
use crate::values::same;

/// The passes at one input, shared by sessions of the same plans.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    input: Vec<f32>,
    forward: Option<Arc<Pass>>,
    /// By cotangent.
    gradients: Vec<(Vec<f32>, Arc<Pass>)>,
}

/// What a pass gave.
#[derive(Debug, Default)]
struct Pass {
    logits: Vec<f32>,
    gradient: Vec<f32>,
    taps: Vec<KeptTap>,
}

#[derive(Debug)]
struct KeptTap {
    shape: Vec<usize>,
    value: Vec<f32>,
    gradient: Vec<f32>,
}

impl Remembered {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a pass gave, unless another session has gone on to another input meanwhile.
    fn keep(&self, input: &[f32], put: impl FnOnce(&mut Kept)) {
        let mut kept = self.kept();
        if same(&kept.input, input) {
            put(&mut kept);
        }
    }

    /// From now on passes at this input are remembered, and those at another are forgotten.
    pub fn at(&self, input: &[f32]) {
        let mut kept = self.kept();
        if !same(&kept.input, input) {
            *kept = Kept { input: input.to_vec(), ..Kept::default() };
        }
    }
}

/// Asks another session only for passes that are not remembered.
pub struct Remembering<S> {
    /// Takes the passes.
    pub inner: S,
    remembered: Arc<Remembered>,
    /// The latest pass, if it was one that is remembered.
    latest: Arc<Pass>,
    is_latest: bool,
    saved: Passes,
    /// Gradients depend on a baseline, or all passes on noise; they are not remembered.
    differences: bool,
    perturbed: bool,
}

impl<S: Session> Remembering<S> {
    /// Shares what is remembered with others.
    pub fn new(inner: S, remembered: Arc<Remembered>) -> Remembering<S> {
        Remembering {
            inner,
            remembered,
            latest: Arc::default(),
            is_latest: false,
            saved: Passes::default(),
            differences: false,
            perturbed: false,
        }
    }

    /// Passes at this input are remembered from now on; counts what is saved from zero.
    pub fn begin(&mut self, input: &[f32]) {
        self.remembered.at(input);
        self.saved = Passes::default();
    }

    /// Forgets the passes at the latest input.
    pub fn forget(&mut self) {
        *self.remembered.kept() = Kept::default();
    }

    /// Gives the weights their own values back, if somebody has perturbed them.
    pub fn restore(&mut self) -> Result<()> {
        if self.perturbed { self.perturb_weights(None) } else { Ok(()) }
    }

    /// Passes that did not have to be taken.
    pub fn saved(&self) -> Passes {
        self.saved
    }

    fn hand_out(&mut self, pass: Arc<Pass>) -> &Pass {
        (self.latest, self.is_latest) = (pass, true);
        &self.latest
    }

    /// A pass's results, copied out of the session.
    fn copy(&self, logits: Vec<f32>, gradient: Vec<f32>) -> Pass {
        let taps = (0..).map_while(|i| self.inner.tap(i)).map(|tap| KeptTap {
            shape: tap.shape.to_vec(),
            value: tap.value.to_vec(),
            gradient: tap.gradient.to_vec(),
        });
        Pass { logits, gradient, taps: taps.collect() }
    }
}

impl<S: Session> Remembering<S> {
    /// The logits of an input, by one of the session's two ways.
    fn logits(&mut self, input: &[f32], take: for<'s> fn(&'s mut S, &[f32]) -> Result<&'s [f32]>) -> Result<&[f32]> {
        let (known, wanted) = {
            let kept = self.remembered.kept();
            (kept.forward.clone(), same(&kept.input, input) && !self.perturbed)
        };
        match known.filter(|_| wanted) {
            Some(pass) => {
                // Whether it is shared is no matter of the map: it counts as taken.
                self.saved.forward += 1;
                self.inner.spend(1);
                Ok(&self.hand_out(pass).logits)
            }
            None if wanted => {
                let logits = take(&mut self.inner, input)?.to_vec();
                let pass = Arc::new(Pass { logits, ..Pass::default() });
                self.remembered.keep(input, |kept| kept.forward = Some(pass.clone()));
                Ok(&self.hand_out(pass).logits)
            }
            None => {
                self.is_latest = false;
                take(&mut self.inner, input)
            }
        }
    }
}

impl<S: Session> Session for Remembering<S> {
    fn input_shape(&self) -> &[usize] {
        self.inner.input_shape()
    }

    fn perturb_weights(&mut self, noise: Option<WeightNoise>) -> Result<()> {
        self.perturbed = noise.is_some();
        self.inner.perturb_weights(noise)
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn room(&self) -> u64 {
        self.inner.room()
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        self.differences = true;
        self.inner.set_baseline(baseline)
    }

    fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
        self.logits(input, S::forward)
    }

    fn prepare(&mut self, input: &[f32]) -> Result<&[f32]> {
        self.logits(input, S::prepare)
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let (known, wanted) = {
            let kept = self.remembered.kept();
            let known = kept.gradients.iter().find(|(s, _)| s == seed).map(|(_, pass)| pass.clone());
            (known, same(&kept.input, input) && !self.differences && !self.perturbed)
        };
        let pass = match known.filter(|_| wanted) {
            Some(pass) => {
                self.saved.gradient += 1;
                self.inner.spend(1);
                pass
            }
            None if wanted => {
                let pass = self.inner.gradient(input, seed)?;
                let (logits, gradient) = (pass.logits.to_vec(), pass.input.to_vec());
                let pass = Arc::new(self.copy(logits, gradient));
                self.remembered.keep(input, |kept| kept.gradients.push((seed.to_vec(), pass.clone())));
                pass
            }
            None => {
                self.is_latest = false;
                return self.inner.gradient(input, seed);
            }
        };
        let pass = self.hand_out(pass);
        Ok(Gradient { logits: &pass.logits, input: &pass.gradient })
    }

    fn gradients(&mut self, seed: &[f32], count: usize, make: Make, take: Take) -> Result<()> {
        self.is_latest = false;
        self.inner.gradients(seed, count, make, take)
    }

    fn is_prepared(&self, input: &[f32]) -> bool {
        self.inner.is_prepared(input)
    }

    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        self.is_latest = false;
        self.inner.forwards(count, make, take)
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        if !self.is_latest {
            return self.inner.tap(index);
        }
        self.latest.taps.get(index).map(|tap| Tap { shape: &tap.shape, value: &tap.value, gradient: &tap.gradient })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Counting;

    /// `f(x) = x0^2`, with the input as its layer.
    #[derive(Default)]
    struct Square(Vec<f32>, Vec<f32>, Vec<f32>);

    impl Session for Square {
        fn input_shape(&self) -> &[usize] {
            &[1]
        }

        fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
            self.0 = vec![input[0] * input[0]];
            Ok(&self.0)
        }

        fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
            self.forward(input)?;
            (self.1, self.2) = (vec![2.0 * seed[0] * input[0]], input.to_vec());
            Ok(Gradient { logits: &self.0, input: &self.1 })
        }

        fn tap(&self, index: usize) -> Option<Tap<'_>> {
            (index == 0).then_some(Tap { shape: &[1], value: &self.2, gradient: &self.1 })
        }
    }

    #[test]
    fn passes_at_the_input_are_taken_once_and_the_others_each_time() {
        let remembered = Arc::new(Remembered::default());
        let mut one = Remembering::new(Counting::new(Square::default()), remembered.clone());
        one.begin(&[3.0]);
        for _ in 0..2 {
            assert_eq!(one.forward(&[3.0]).unwrap(), [9.0]);
            assert_eq!(one.gradient(&[3.0], &[1.0]).unwrap().input, [6.0]);
            assert_eq!(one.gradient(&[4.0], &[1.0]).unwrap().input, [8.0]);
            assert_eq!(one.tap(0).unwrap().value, [4.0], "the latest pass is another");
        }
        assert_eq!(one.gradient(&[3.0], &[2.0]).unwrap().input, [12.0], "another cotangent is another pass");
        assert_eq!(one.inner.passes(), Passes { forward: 1, gradient: 4 });
        assert_eq!(one.saved(), Passes { forward: 1, gradient: 1 });
        let mut two = Remembering::new(Counting::new(Square::default()), remembered);
        two.begin(&[3.0]);
        assert_eq!(two.gradient(&[3.0], &[1.0]).unwrap().input, [6.0]);
        assert_eq!((two.tap(0).unwrap().value, two.tap(0).unwrap().gradient), (&[3.0][..], &[6.0][..]));
        assert_eq!((two.inner.passes(), two.saved()), (Passes::default(), Passes { forward: 0, gradient: 1 }));
        two.begin(&[5.0]);
        assert_eq!(two.forward(&[5.0]).unwrap(), [25.0]);
        assert_eq!(two.inner.passes().forward, 1, "what was at another input is forgotten");
    }
}
