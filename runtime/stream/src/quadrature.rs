//! Rules for integrals over [0, 1], node by node and without storage.
//!
//! ```
//! use whyline_stream::quadrature::Rule;
//! let third: f64 = (0..5).map(|i| Rule::GaussLegendre.node(i, 5)).map(|(t, w)| w * t * t).sum();
//! assert!((third - 1.0 / 3.0).abs() < 1e-12);
//! ```

/// The most nodes that a rule is asked for.
pub const MAX_NODES: u32 = 65_536;

/// How nodes and weights are placed on [0, 1]. All weights sum to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Rule {
    /// Exact for polynomials up to degree 2n - 1.
    GaussLegendre,
    /// Middles of n equal cells: the best cheap rule for piecewise constant gradients.
    Midpoint,
    /// Left ends of n equal cells.
    Left,
    /// Right ends of n equal cells.
    Right,
    /// n equidistant nodes with both ends, the ends with half weight; needs two nodes.
    Trapezoid,
}

/// Every rule with its name.
pub const RULES: &[(&str, Rule)] = &[
    ("gauss-legendre", Rule::GaussLegendre),
    ("midpoint", Rule::Midpoint),
    ("left", Rule::Left),
    ("right", Rule::Right),
    ("trapezoid", Rule::Trapezoid),
];

impl Rule {
    /// The rule of this name.
    pub fn named(name: &str) -> Option<Rule> {
        RULES.iter().find(|r| r.0 == name).map(|r| r.1)
    }

    /// The fewest nodes the rule makes sense with.
    pub fn least(self) -> u32 {
        if self == Rule::Trapezoid { 2 } else { 1 }
    }

    /// Place and weight of node `i` of `n`, in ascending order. `i < n`, `n >= least()`.
    pub fn node(self, i: u32, n: u32) -> (f64, f64) {
        let (place, cells) = (i as f64, n as f64);
        match self {
            Rule::GaussLegendre => gauss_legendre(i, n),
            Rule::Midpoint => ((place + 0.5) / cells, 1.0 / cells),
            Rule::Left => (place / cells, 1.0 / cells),
            Rule::Right => ((place + 1.0) / cells, 1.0 / cells),
            Rule::Trapezoid => {
                let step = 1.0 / (cells - 1.0);
                let end = i == 0 || i + 1 == n;
                (place * step, if end { 0.5 * step } else { step })
            }
        }
    }
}

/// Place and weight of node `i` of `n` in the middles of cells that are narrow where `ends` lie close: between every two
/// neighbouring ends lies an equal share of the cells. `ends` ascend from 0 to 1, `i < n`. The weights sum to one.
///
/// ```
/// use whyline_stream::quadrature::spaced;
/// // Half of the cells are before 0.1.
/// assert_eq!(spaced(0, 2, &[0.0, 0.5, 1.0]), (0.25, 0.5));
/// assert!((spaced(1, 2, &[0.0, 0.1, 1.0]).0 - 0.55).abs() < 1e-7);
/// ```
pub fn spaced(i: u32, n: u32, ends: &[f32]) -> (f64, f64) {
    let (from, to) = (at_share(i, n, ends), at_share(i + 1, n, ends));
    ((from + to) / 2.0, to - from)
}

/// Below which place a share of `i` in `n` lies.
fn at_share(i: u32, n: u32, ends: &[f32]) -> f64 {
    let cells = ends.len().saturating_sub(1);
    let along = i as f64 / n as f64 * cells as f64;
    let cell = (along as usize).min(cells.saturating_sub(1));
    match ends.get(cell..cell + 2) {
        Some(&[from, to]) => from as f64 + (along - cell as f64) * (to as f64 - from as f64),
        _ => along,
    }
}

/// Newton's method on the Legendre polynomial of degree n, from Tricomi's estimate of its root.
fn gauss_legendre(i: u32, n: u32) -> (f64, f64) {
    let degree = n as f64;
    let angle = core::f64::consts::PI * (degree - i as f64 - 0.25) / (degree + 0.5);
    let mut root = (1.0 - (degree - 1.0) / (8.0 * degree * degree * degree)) * libm::cos(angle);
    let mut slope = 1.0;
    for _ in 0..16 {
        let (mut below, mut value) = (1.0, root);
        for k in 2..=n {
            let k = k as f64;
            (below, value) = (value, ((2.0 * k - 1.0) * root * value - (k - 1.0) * below) / k);
        }
        slope = degree * (root * value - below) / (root * root - 1.0);
        let step = value / slope;
        root -= step;
        if libm::fabs(step) < 1e-15 {
            break;
        }
    }
    ((1.0 + root) / 2.0, 1.0 / ((1.0 - root * root) * slope * slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integral(rule: Rule, n: u32, f: impl Fn(f64) -> f64) -> f64 {
        (0..n).map(|i| rule.node(i, n)).map(|(t, w)| w * f(t)).sum()
    }

    #[test]
    fn weights_sum_to_one() {
        for (name, rule) in RULES {
            for n in [rule.least(), 3, 10, 50, 333] {
                let sum = integral(*rule, n, |_| 1.0);
                assert!((sum - 1.0).abs() < 1e-12, "{name} {n}: {sum}");
            }
        }
    }

    #[test]
    fn spaced_cells_cover_the_interval_and_are_exact_for_lines() {
        let ends = [0.0, 0.01, 0.02, 0.3, 0.31, 1.0];
        for n in [1, 2, 5, 17, 200] {
            let nodes = (0..n).map(|i| spaced(i, n, &ends));
            let (sum, line) =
                nodes.clone().fold((0.0, 0.0), |(sum, line), (t, w)| (sum + w, line + w * (3.0 * t - 1.0)));
            assert!((sum - 1.0).abs() < 1e-7 && (line - 0.5).abs() < 1e-7, "{n}: {sum}, {line}");
            assert!(nodes.clone().zip(nodes.skip(1)).all(|(a, b)| a.0 < b.0), "{n}");
        }
        // Equal ends are the midpoint rule.
        let even: [f32; 9] = core::array::from_fn(|i| i as f32 / 8.0);
        for i in 0..12 {
            let (a, b) = (spaced(i, 12, &even), Rule::Midpoint.node(i, 12));
            assert!((a.0 - b.0).abs() < 1e-12 && (a.1 - b.1).abs() < 1e-12);
        }
    }

    #[test]
    fn gauss_legendre_is_exact_to_degree_2n_minus_1() {
        for n in 1..=40u32 {
            for degree in [0, 1, n, 2 * n - 1] {
                let exact = 1.0 / (degree as f64 + 1.0);
                let got = integral(Rule::GaussLegendre, n, |t| libm::pow(t, degree as f64));
                assert!((got - exact).abs() < 1e-12, "n {n} degree {degree}: {got} for {exact}");
            }
        }
    }

    #[test]
    fn nodes_ascend_inside_the_interval() {
        for (name, rule) in RULES {
            let places: [f64; 50] = core::array::from_fn(|i| rule.node(i as u32, 50).0);
            assert!(places.windows(2).all(|p| p[0] < p[1]), "{name}");
            assert!(places[0] >= 0.0 && places[49] <= 1.0, "{name}");
        }
    }

    #[test]
    fn trapezoid_and_midpoint_are_exact_for_lines() {
        for rule in [Rule::Midpoint, Rule::Trapezoid] {
            assert!((integral(rule, 10, |t| 3.0 * t - 1.0) - 0.5).abs() < 1e-12);
        }
    }

    #[test]
    fn nodes_are_at_the_ends_of_their_cells() {
        let of = |rule: Rule| [rule.node(0, 4), rule.node(3, 4)];
        assert_eq!(of(Rule::Left), [(0.0, 0.25), (0.75, 0.25)]);
        assert_eq!(of(Rule::Right), [(0.25, 0.25), (1.0, 0.25)]);
    }
}
