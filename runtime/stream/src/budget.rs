//! Whether there is room for one more pass: a budget of passes and of time, and how long passes have taken lately. The caller
//! has the clock.

/// Of an earlier, longer pass's time this share is kept with every pass.
const FADES: f64 = 0.9;

/// Forward passes that a gradient is taken for, before there has been one.
const FORWARDS: f64 = 3.0;

/// What is left of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Left {
    /// Passes, if they are counted.
    pub passes: Option<u64>,
    /// Seconds, if there is a deadline; none are left of one that is over.
    pub seconds: Option<f64>,
    /// Somebody wants no more.
    pub interrupted: bool,
}

/// What a budget has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stop {
    /// As many passes as were allowed.
    Passes,
    /// The time.
    Deadline,
    /// Somebody wanted no more.
    Interrupt,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// There is room for so many gradients, one at least.
    Go(u64),
    /// There is no room.
    Stop(Stop),
}

/// Seconds of a pass, as they have been lately: the latest, or somewhat less than a longer one before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pace {
    forward: f64,
    gradient: f64,
}

impl Pace {
    /// A forward pass took so many seconds.
    pub fn took_forward(&mut self, seconds: f64) {
        self.forward = seconds.max(FADES * self.forward);
    }

    /// A gradient took so many, with what is made of it.
    pub fn took_gradient(&mut self, seconds: f64) {
        self.gradient = seconds.max(FADES * self.gradient);
    }

    /// Of a forward pass.
    pub fn forward(&self) -> f64 {
        self.forward
    }

    /// Of a gradient, with what is made of it.
    pub fn gradient(&self) -> f64 {
        self.gradient
    }

    /// How long so many passes are going to take.
    pub fn seconds(&self, forward: u64, gradient: u64) -> f64 {
        forward as f64 * self.forward + gradient as f64 * self.gradient
    }

    /// Gradients that end within so many seconds; any number while nothing is known of how long they take.
    fn fit(&self, seconds: Option<f64>) -> u64 {
        let Some(seconds) = seconds else { return u64::MAX };
        let each = if self.gradient > 0.0 { self.gradient } else { FORWARDS * self.forward };
        match seconds > 0.0 {
            true if each > 0.0 => (seconds / each) as u64,
            true => u64::MAX,
            false => 0,
        }
    }

    /// Whether there is room for more gradients.
    pub fn state(&self, left: &Left) -> State {
        let (passes, time) = (left.passes.unwrap_or(u64::MAX), self.fit(left.seconds));
        match (left.interrupted, passes, time) {
            (true, ..) => State::Stop(Stop::Interrupt),
            (_, 0, _) => State::Stop(Stop::Passes),
            (_, _, 0) => State::Stop(Stop::Deadline),
            _ => State::Go(passes.min(time)),
        }
    }

    /// Of passes and time, what is going to stop first, if anything is.
    pub fn nearest(&self, left: &Left) -> Option<Stop> {
        let (passes, time) = (left.passes.unwrap_or(u64::MAX), self.fit(left.seconds));
        let stop = if passes <= time { Stop::Passes } else { Stop::Deadline };
        (passes.min(time) < u64::MAX).then_some(stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_passes_and_time_leave() {
        let mut pace = Pace::default();
        let left = |passes, seconds| Left { passes, seconds, interrupted: false };
        assert_eq!(pace.state(&left(None, Some(1.0))), State::Go(u64::MAX), "nothing is known yet");
        pace.took_forward(0.1);
        assert_eq!(pace.state(&left(None, Some(1.0))), State::Go(3), "a gradient is taken for three forward passes");
        pace.took_gradient(0.2);
        assert_eq!(pace.state(&left(None, Some(1.0))), State::Go(5));
        assert_eq!(pace.state(&left(Some(2), Some(1.0))), State::Go(2));
        assert_eq!(pace.state(&left(Some(0), Some(1.0))), State::Stop(Stop::Passes));
        assert_eq!(pace.state(&left(Some(2), Some(0.1))), State::Stop(Stop::Deadline));
        assert_eq!(pace.state(&left(Some(2), Some(-1.0))), State::Stop(Stop::Deadline));
        assert_eq!(pace.state(&Left { interrupted: true, ..left(Some(0), None) }), State::Stop(Stop::Interrupt));
        assert_eq!(pace.nearest(&left(Some(2), Some(1.0))), Some(Stop::Passes));
        assert_eq!(pace.nearest(&left(Some(9), Some(1.0))), Some(Stop::Deadline));
        assert_eq!(pace.nearest(&left(None, None)), None);
        // A short pass after a long one does not count for all.
        pace.took_gradient(0.1);
        assert!((pace.seconds(1, 1) - 0.28).abs() < 1e-12);
    }

    #[test]
    fn no_time_is_no_time_though_nothing_is_known() {
        let left = Left { passes: None, seconds: Some(0.0), interrupted: false };
        assert_eq!(Pace::default().state(&left), State::Stop(Stop::Deadline));
        let mut pace = Pace::default();
        pace.took_forward(0.5);
        pace.took_gradient(0.25);
        assert_eq!((pace.forward(), pace.gradient()), (0.5, 0.25));
    }
}
