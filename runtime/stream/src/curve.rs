//! The area under a curve whose points come one after the other.

/// The trapezoidal rule over equal steps from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Curve {
    points: u64,
    first: f64,
    before_last: f64,
    last: f64,
    sum: f64,
}

impl Curve {
    /// Takes in the next point.
    pub fn push(&mut self, height: f64) {
        if self.points == 0 {
            self.first = height;
        }
        self.points += 1;
        (self.before_last, self.last) = (self.last, height);
        self.sum += height;
    }

    /// The mean height: the area, where the first point is at 0 and the last at 1; none of fewer than two points.
    pub fn area(&self) -> Option<f64> {
        self.area_with_last(1.0)
    }

    /// The same, where the last step has only a share of the others' width.
    pub fn area_with_last(&self, share: f64) -> Option<f64> {
        let missing = 1.0 - share;
        let area = self.sum - 0.5 * (self.first + self.last) - missing * 0.5 * (self.before_last + self.last);
        (self.points > 1).then(|| area / ((self.points - 1) as f64 - missing))
    }

    /// The mean of the points' heights.
    pub fn mean(&self) -> Option<f64> {
        (self.points > 0).then(|| self.sum / self.points as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_area_below_their_middle() {
        let mut curve = Curve::default();
        assert_eq!(curve.area(), None);
        (0..=10).for_each(|i| curve.push(2.0 - i as f64 / 10.0));
        assert!((curve.area().unwrap() - 1.5).abs() < 1e-15);
        assert!((curve.mean().unwrap() - 1.5).abs() < 1e-15);
        // The same line a quarter of a step further.
        curve.push(2.0 - 1.025);
        assert!((curve.area_with_last(0.25).unwrap() - (2.0 - 1.025 / 2.0)).abs() < 1e-12);
    }

    #[test]
    fn one_point_has_a_mean_and_no_area() {
        let mut curve = Curve::default();
        assert_eq!((curve.area(), curve.mean()), (None, None));
        curve.push(3.0);
        assert_eq!((curve.area(), curve.mean()), (None, Some(3.0)));
        curve.push(1.0);
        assert_eq!((curve.area(), curve.mean()), (Some(2.0), Some(2.0)));
    }
}
