//! What models have in common that differ in their later layers is computed once, to the same bytes.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{graph, ints, node, normal, typed, weight};
use whyline_runtime::engine::{Isa, Packs, PlanSession, Plans, Precision, Resources, Session, Spare};
use whyline_runtime::explain::{LoadOptions, Loaded, Wanted};
use whyline_runtime::gradient::COMPOSITES;
use whyline_runtime::gradient::composite::{Composite, GRADIENT};
use whyline_runtime::onnx::write::write_model;
use whyline_runtime::onnx::{Attr, Change, layers};

fn load(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
    Loaded::read(&path, &LoadOptions::default()).unwrap()
}

/// Everything that a session hands out at an input, bit by bit.
fn handed_out(session: &mut PlanSession, x: &[f32], seed: &[f32]) -> Vec<Vec<u32>> {
    let logits = session.prepare(x).unwrap().to_vec();
    let gradient = session.gradient(x, seed).unwrap().input.to_vec();
    let taps = (0..).map_while(|i| session.tap(i)).flat_map(|tap| [tap.value.to_vec(), tap.gradient.to_vec()]);
    let all = [logits, gradient].into_iter().chain(taps);
    all.map(|values| values.iter().map(|v| v.to_bits()).collect()).collect()
}

/// Goes from each model to the next at one input, as metrics do, and compares what each gives with what it gives alone. Returns
/// how many groups of steps did not run again; none where the composite does not fit the model.
fn saved(loaded: &Loaded, composite: &'static Composite, taps: &[String], changes: &[Change]) -> Option<usize> {
    let (shape, classes) = (loaded.input_shape().unwrap(), loaded.classes().unwrap());
    let (x, seed) = (normal(shape.iter().product(), 5), normal(classes, 6));
    let (baseline, other) = (normal(x.len(), 7), normal(x.len(), 8));
    let mut packs = Packs::new(Precision::F32, Isa::best());
    let (mut spare, mut saved, mut outline) = (Spare::default(), 0, None);
    for (number, change) in changes.iter().enumerate() {
        let own = std::slice::from_ref(change);
        let wanted = Wanted { composite, taps: taps.to_vec(), changes: own.to_vec(), ..Wanted::default() };
        let plans = Arc::new(Plans::sharing(&loaded.derive(&wanted).ok()?, &mut packs).unwrap());
        assert_eq!(*outline.get_or_insert(plans.outline()), plans.outline(), "{}", composite.name);
        let reads = plans.reads(&loaded.typed.graph, &layers(&loaded.typed.graph));
        let next = changes.get(number + 1).map(std::slice::from_ref);
        let shared = next.map_or(0, |next| reads.before(Change::layers_apart(own, next).unwrap()));
        spare.trunk.pass_on(number > 0, shared);
        saved += shared;

        let mut alone = PlanSession::of(plans.clone(), Resources::default()).unwrap();
        let mut session = PlanSession::of_spare(plans, Resources::default(), &mut spare).unwrap();
        for session in [&mut alone, &mut session] {
            // Only composites of differences have one.
            let _ = session.set_baseline(&baseline);
        }
        // What is left for the next model is of the first input, and nothing is known of another.
        for x in [&x, &other] {
            let same = handed_out(&mut session, x, &seed) == handed_out(&mut alone, x, &seed);
            assert!(same, "{} after {number} models", composite.name);
        }
        session.leave(&mut spare);
    }
    Some(saved)
}

/// The changes of a sanity check in so many stages: fewer and fewer layers, more and more, or one after the other.
fn changes(layers: usize, stages: usize) -> [Vec<Change>; 3] {
    let ends = (1..=stages).map(move |stage| stage * layers / stages);
    let shuffled = |layers| Change::Shuffled { layers, seed: 3 };
    [
        ends.clone().map(|end| shuffled(end - 1..layers)).collect(),
        ends.clone().map(|end| shuffled(0..end)).collect(),
        ends.map(|end| shuffled(end - 1..end)).collect(),
    ]
}

#[test]
fn passes_of_the_next_model_go_on_from_where_it_differs() {
    for (name, fitting) in [("digits-cnn.onnx", COMPOSITES.len()), ("digits-vit.onnx", 1)] {
        let loaded = load(name);
        for changes in changes(loaded.layers(), 4) {
            let saved: Vec<usize> = COMPOSITES.iter().filter_map(|of| saved(&loaded, of, &[], &changes)).collect();
            assert!(saved.len() >= fitting && saved.iter().all(|groups| *groups > 10), "{name}: {saved:?}");
        }
    }
}

/// Wherever models begin to differ. Values that are handed out are written in another order of their elements as well, by steps
/// that have the same names.
#[test]
fn layers_and_values_that_are_handed_out_are_those_of_the_next_model() {
    for name in ["digits-cnn.onnx", "digits-vit.onnx"] {
        let loaded = load(name);
        let nodes = loaded.typed.graph.nodes.iter();
        let taps: Vec<String> = nodes
            .filter(|node| ["Conv", "BatchNormalization", "Relu", "MatMul", "Add"].contains(&node.op.as_str()))
            .map(|node| node.outputs[0].clone())
            .collect();
        for changes in changes(loaded.layers(), loaded.layers()) {
            for taps in [&[], &taps[..]] {
                assert!(saved(&loaded, &GRADIENT, taps, &changes).unwrap() > 10, "{name}");
            }
        }
    }
}

/// A concatenation whose operands lie in it before and behind the cut: what one step writes of it is not the whole.
#[test]
fn what_is_written_in_parts_is_kept() {
    let conv = |x, w, y| node("Conv", &[x, w], &[y], vec![("pads", ints(&[1, 1, 1, 1]))]);
    let nodes = vec![
        conv("x", "w0", "a"),
        conv("a", "w1", "b"),
        conv("a", "w2", "c"),
        node("Concat", &["b", "c"], &["d"], vec![("axis", Attr::Int(1))]),
        conv("d", "w3", "e"),
        // Of these, a lies in the whole, and b, which lies in the other, is moved.
        node("Concat", &["a", "b", "e"], &["f"], vec![("axis", Attr::Int(1))]),
        conv("f", "w4", "g"),
        node("Relu", &["g"], &["h"], vec![]),
        conv("h", "w5", "i"),
        node("Relu", &["i"], &["j"], vec![]),
        conv("j", "w6", "k"),
        node("GlobalAveragePool", &["k"], &["l"], vec![]),
        node("Flatten", &["l"], &["y"], vec![]),
    ];
    let shapes =
        [[16, 1], [16, 16], [16, 16], [16, 32], [48, 48], [48, 48], [10, 48]].map(|[to, from]| [to, from, 3, 3]);
    let mut graph = graph(&[1, 1, 12, 12], nodes, "y");
    graph.constants = (0..shapes.len()).map(|i| (format!("w{i}"), weight(&shapes[i], i as u64))).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parts.onnx");
    let facts = typed(graph.clone()).unwrap().facts;
    write_model(&graph, &facts, &path).unwrap();
    let loaded = Loaded::read(&path, &LoadOptions::default()).unwrap();
    for changes in changes(loaded.layers(), loaded.layers()) {
        assert!(saved(&loaded, &GRADIENT, &[], &changes).unwrap() > 5);
    }
}

#[test]
fn other_changes_have_nothing_in_common() {
    let shuffled = |layers, seed| [Change::Shuffled { layers, seed }];
    assert!(Change::layers_apart(&shuffled(0..2, 1), &shuffled(0..2, 2)).is_none());
    assert!(Change::layers_apart(&shuffled(0..2, 1), &[Change::Shifted(1.0)]).is_none());
    assert!(Change::layers_apart(&[], &shuffled(0..2, 1)).is_none());
    let apart = |one, other| Change::layers_apart(&shuffled(one, 1), &shuffled(other, 1)).unwrap().collect::<Vec<_>>();
    assert_eq!(apart(0..3, 2..5), [0, 1, 3, 4]);
    assert_eq!(apart(1..2, 4..5), [1, 4]);
    assert!(apart(2..5, 2..5).is_empty());
}
