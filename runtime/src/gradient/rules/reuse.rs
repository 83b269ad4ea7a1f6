//! Rules are made of the op's own adjoint, handed other values than the op had.

use crate::gradient::adjoints;
use crate::gradient::emit::Name;
use crate::gradient::site::{AdjointFn, Refusal, Site};

/// The true gradient: right for what a rule does not change.
pub fn own(s: &mut Site) -> Result<(), Refusal> {
    let adjoint = adjoints::find(&s.node.op).ok_or("it has no gradient")?;
    adjoint(s)
}

/// What the op's adjoint gives each input for the cotangent `g`, with other values in place of some inputs, by slot, and
/// of the output, at [`OUTPUT`](crate::gradient::site::OUTPUT).
pub fn own_for(s: &mut Site, g: &str, instead: Vec<(usize, Name)>) -> Result<Vec<(usize, Name)>, Refusal> {
    let earlier = (std::mem::take(&mut s.given), s.cotangents[0].replace(g.to_string()));
    let before = std::mem::replace(&mut s.instead, instead);
    let done = own(s);
    s.instead = before;
    s.cotangents[0] = earlier.1;
    let given = std::mem::replace(&mut s.given, earlier.0);
    done.map(|()| given)
}

/// Ops that move elements, pick some or copy them: relevance and multipliers go where the elements came from.
pub const MOVES: &[(&str, AdjointFn)] = &[
    ("Identity", own),
    ("Cast", own),
    ("Reshape", own),
    ("Flatten", own),
    ("Squeeze", own),
    ("Unsqueeze", own),
    ("Transpose", own),
    ("Concat", own),
    ("Split", own),
    ("Slice", own),
    ("Pad", own),
    ("Expand", own),
    ("Tile", own),
    ("DepthToSpace", own),
    ("SpaceToDepth", own),
    ("Trilu", own),
    ("Gather", own),
    ("GatherElements", own),
    ("GatherND", own),
];
