"""Runs the gradient graphs that the adjoint tests write through onnx.checker and ONNX Runtime.

    WHYLINE_CASES=/tmp/cases cargo test --workspace cases_can_be
    python models/check_cases.py /tmp/cases

with the packages of models/requirements.txt.

Prints every case whose logits or gradient differ, relative to their largest value, by more than 1e-4.
"""
import collections
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort


# What ONNX Runtime and the checker refuse although ONNX defines it.
REFUSED = {
    "size_ % 2 == 1": "LRN over an even number of channels",
    "Dilation not supported for AutoPadType": "a dilated Conv whose padding is to keep the size",
    "GroupNormalization is deprecated in domain_version of 18": "GroupNormalization before op set 21",
}


def largest_difference(ours, theirs):
    return float(np.max(np.abs(ours - theirs), initial=0.0) / (np.max(np.abs(theirs), initial=0.0) + 1e-6))


def check(path):
    """Returns what is wrong with a case, or None."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ours = {what: np.load(path.with_suffix(f".{what}.npy")) for what in ("x", "seed", "logits", "gradient")}
    names = {i.name for i in session.get_inputs()}
    feed = {k: v for k, v in {"x": ours["x"], "why.seed": ours["seed"]}.items() if k in names}
    results = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed)))
    logits = results.get("why.logits", results.get("y"))
    for what, theirs in (("logits", logits), ("gradient", results["why.grad.x"])):
        error = largest_difference(ours[what], theirs)
        if not error < 1e-4:
            return f"{what} differ by {error:.1e}"
    return None


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    if not paths:
        sys.exit(f"there are no cases in {sys.argv[1]}")
    wrong = collections.Counter()
    for path in paths:
        try:
            problem = check(path)
        except Exception as error:  # every case is reported, whatever another engine thinks of it
            known = [what for part, what in REFUSED.items() if part in str(error)]
            if known:
                print(f"{path.name}: not run: {known[0]}")
                continue
            problem = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
        if problem:
            wrong[problem.split(":")[0]] += 1
            print(f"{path.name}: {problem}")
    print(f"{sum(wrong.values())} of {len(paths)} cases differ")
    sys.exit(1 if wrong or not paths else 0)


if __name__ == "__main__":
    main()
