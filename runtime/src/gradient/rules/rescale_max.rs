//! DeepLIFT through max pooling: of a window's maxima `y` and `y'` the larger `M` decides; `M - y'` goes to where the maximum
//! is, `y - M` to where the baseline's is, so that together they are `y - y'`.

use super::Rule;
use super::rescale::over_difference;
use crate::gradient::emit::Name;
use crate::gradient::functions::MAX_POOL_GRAD;
use crate::gradient::site::{Refusal, Site};

/// On max pooling.
pub const POOL: Rule = Rule { name: "rescale", covers: &[&[("MaxPool", max_pool)]] };

fn max_pool(s: &mut Site) -> Result<(), Refusal> {
    if s.node.int("storage_order", 0) != 0 {
        return Err("its indices are column-major (storage_order)".into());
    }
    let (g, x, y) = (s.g(), s.x(0), s.y());
    let (x_ref, y_ref) = (s.reference(&x), s.reference(&y));
    let (places, places_ref) = (s.forward_output(1), s.reference_output(1));
    let most = s.emit.op("Max", &[&y, &y_ref]);
    let gained = s.emit.sub(&most, &y_ref);
    let lost = s.emit.sub(&y, &most);
    let to = scatter(s, &g, &gained, &places);
    let from = scatter(s, &g, &lost, &places_ref);
    let change = s.emit.add(&to, &from);
    let zero = s.emit.scalar(0.0);
    let multiplier = over_difference(s, &change, &zero, &x, &x_ref);
    s.give(0, multiplier);
    Ok(())
}

/// `g * change`, each at the place its maximum was read from.
fn scatter(s: &mut Site, g: &str, change: &str, places: &str) -> Name {
    let shape = s.x_shape(0);
    let (count, extents) = (s.emit.extents(&[shape.iter().product()]), s.emit.extents(&shape));
    let share = s.emit.mul(g, change);
    s.emit.call(&MAX_POOL_GRAD, &[&share, places, &count, &extents])
}
