//! The numbers that rules go by.

/// What rules can be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What absorbs weak contributions in LRP's epsilon rule of layers.
    pub epsilon: f32,
    /// How much more positive weights count in LRP's gamma rule.
    pub gamma: f32,
    /// How much positive contributions count in LRP's alpha-beta rule; negative ones count `alpha - 1`. At least one.
    pub alpha: f32,
    /// Of a layer's products of activation and cotangent, below which rectified gradients pass nothing.
    pub percentile: f32,
    /// Of the input, for LRP's z-box rule.
    pub bounds: Bounds,
    /// Puts `ln(1 + exp(b z)) / b` with this `b` in the place of every Relu, which has second derivatives.
    pub softplus: Option<f32>,
}

impl Settings {
    /// What keeps the quotients of all other rules, and of sums and means, from dividing by zero.
    pub fn stabiliser(&self) -> f32 {
        self.epsilon.min(1e-6)
    }
}

/// The least and greatest value that an input may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Per channel, or one for all.
    pub low: Vec<f32>,
    /// Per channel, or one for all.
    pub high: Vec<f32>,
    /// The axis of the channels.
    pub axis: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { epsilon: 1e-6, gamma: 0.25, alpha: 2.0, percentile: 98.0, bounds: Bounds::default(), softplus: None }
    }
}

impl Default for Bounds {
    /// From zero to one.
    fn default() -> Bounds {
        Bounds { low: vec![0.0], high: vec![1.0], axis: 1 }
    }
}
