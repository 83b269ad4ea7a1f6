//! Matrix products.

use crate::gradient::emit::Name;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Attr;

pub const TABLE: &[(&str, AdjointFn)] = &[("Gemm", gemm), ("MatMul", matmul), ("Einsum", einsum)];

fn product(s: &mut Site, a: &str, b: &str, trans_a: bool, trans_b: bool, alpha: f32) -> Name {
    let attributes = vec![
        ("alpha", Attr::Float(alpha)),
        ("transA", Attr::Int(trans_a as i64)),
        ("transB", Attr::Int(trans_b as i64)),
    ];
    s.emit.op_with("Gemm", &[a, b], attributes)
}

/// `y = alpha A' B' + beta C`
fn gemm(s: &mut Site) -> Result<(), Refusal> {
    let (trans_a, trans_b) = (s.node.int("transA", 0) != 0, s.node.int("transB", 0) != 0);
    let (alpha, beta) = (s.node.float("alpha", 1.0), s.node.float("beta", 1.0));
    let (g, a, b) = (s.g(), s.x(0), s.x(1));
    if s.needs(0) {
        let da = match trans_a {
            false => product(s, &g, &b, false, !trans_b, alpha),
            true => product(s, &b, &g, trans_b, true, alpha),
        };
        s.give(0, da);
    }
    if s.needs(1) {
        let db = match trans_b {
            false => product(s, &a, &g, !trans_a, false, alpha),
            true => product(s, &g, &a, true, trans_a, alpha),
        };
        s.give(1, db);
    }
    if s.needs(2) {
        let dc = s.emit.scale(&g, beta);
        s.give_broadcast(2, dc);
    }
    Ok(())
}

fn swap_last(s: &mut Site, value: &str, rank: usize) -> Name {
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    s.emit.transpose(value, &perm)
}

/// Vectors are taken as one row (left) or one column (right), as in NumPy.
fn matmul(s: &mut Site) -> Result<(), Refusal> {
    let (mut g, mut a, mut b) = (s.g(), s.x(0), s.x(1));
    let (a_own, b_own, mut y) = (s.x_shape(0), s.x_shape(1), s.y_shape());
    let (mut a_shape, mut b_shape) = (a_own.clone(), b_own.clone());
    if a_own.len() == 1 {
        a_shape.insert(0, 1);
        a = s.emit.reshape(&a, &a_shape);
        y.insert(y.len() - (b_own.len() > 1) as usize, 1);
    }
    if b_own.len() == 1 {
        b_shape.push(1);
        b = s.emit.reshape(&b, &b_shape);
        y.push(1);
    }
    if y != s.y_shape() {
        g = s.emit.reshape(&g, &y);
    }
    let (rows, columns) = (a_shape[a_shape.len() - 2], b_shape[b_shape.len() - 1]);
    let inner = a_shape[a_shape.len() - 1];
    let batch = &y[..y.len() - 2];
    let full = |r: usize, c: usize| [batch, &[r, c]].concat();
    if s.needs(0) {
        let transposed = swap_last(s, &b, b_shape.len());
        let d = s.emit.op("MatMul", &[&g, &transposed]);
        give_back(s, 0, d, &full(rows, inner), &a_shape, &a_own);
    }
    if s.needs(1) {
        let transposed = swap_last(s, &a, a_shape.len());
        let d = s.emit.op("MatMul", &[&transposed, &g]);
        give_back(s, 1, d, &full(inner, columns), &b_shape, &b_own);
    }
    Ok(())
}

fn give_back(s: &mut Site, slot: usize, d: Name, from: &[usize], to: &[usize], own: &[usize]) {
    let mut d = s.emit.sum_to(&d, from, to);
    if to != own {
        d = s.emit.reshape(&d, own);
    }
    s.give(slot, d);
}

/// The equation's input terms and output term, blanks removed.
fn equation_terms(equation: &str) -> Result<(Vec<String>, String), Refusal> {
    let compact: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    if compact.contains('.') {
        return Err(format!("equation '{equation}' uses an ellipsis; export it with letters"));
    }
    let (left, right) = match compact.split_once("->") {
        Some((left, right)) => (left.to_string(), right.to_string()),
        None => {
            // The implicit output: letters that occur once, in alphabetical order.
            let mut once: Vec<char> =
                compact.chars().filter(|c| compact.matches(*c).count() == 1 && *c != ',').collect();
            once.sort_unstable();
            (compact.clone(), once.into_iter().collect())
        }
    };
    let terms: Vec<String> = left.split(',').map(str::to_string).collect();
    let repeats = |t: &String| t.chars().any(|c| t.matches(c).count() > 1);
    if terms.iter().any(repeats) {
        return Err(format!("equation '{equation}' takes a diagonal"));
    }
    Ok((terms, right))
}

/// The adjoint for one operand contracts the cotangent with the other operands.
fn einsum(s: &mut Site) -> Result<(), Refusal> {
    let (terms, output) = equation_terms(s.node.text("equation", ""))?;
    let g = s.g();
    for i in 0..terms.len() {
        if !s.needs(i) {
            continue;
        }
        let others: Vec<usize> = (0..terms.len()).filter(|&j| j != i).collect();
        let known = |c: char| output.contains(c) || others.iter().any(|&j| terms[j].contains(c));
        // Letters of this operand alone were summed over: the cotangent is the same all along them.
        let kept: String = terms[i].chars().filter(|&c| known(c)).collect();
        let mut left = vec![output.as_str()];
        left.extend(others.iter().map(|&j| terms[j].as_str()));
        let equation = format!("{}->{kept}", left.join(","));
        let names: Vec<Name> = std::iter::once(g.clone()).chain(others.iter().map(|&j| s.x(j))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut d = s.emit.op_with("Einsum", &names, vec![("equation", Attr::Text(equation))]);
        let shape = s.x_shape(i);
        if kept != terms[i] {
            let reduced: Vec<usize> =
                terms[i].chars().zip(&shape).map(|(c, &extent)| if known(c) { extent } else { 1 }).collect();
            d = s.emit.reshape(&d, &reduced);
            d = s.emit.expand(&d, &shape);
        }
        s.give(i, d);
    }
    Ok(())
}
