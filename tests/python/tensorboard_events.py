"""Reads a run's event file with TensorBoard's own reader and compares it with the run's metrics and previews.

Usage: tensorboard_events.py RUN
"""
import json
import pathlib
import sys

try:
    from tensorboard.backend.event_processing import event_accumulator
except ImportError:
    print("skipped: the package tensorboard is not installed")
    sys.exit(77)

run = pathlib.Path(sys.argv[1])
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
sizes = {event_accumulator.IMAGES: 0, event_accumulator.TENSORS: 0, event_accumulator.SCALARS: 0}
found = event_accumulator.EventAccumulator(str(run), size_guidance=sizes)
found.Reload()

losses = [(event.step, event.wall_time) for event in found.Scalars("training/loss")]
assert losses == [(line["round"], line["seconds"]) for line in lines], losses
for event, line in zip(found.Scalars("training/loss"), lines):
    assert abs(event.value - line["loss"]) <= 1e-6 * abs(line["loss"]), (event, line)

pictures = found.Images("preview")
for event in pictures:
    file = run / f"preview-{event.step:07}.png"
    assert event.encoded_image_string == file.read_bytes(), file
    assert event.width > 0 and event.height > 0
print(f"{len(losses)} steps, {len(pictures)} pictures")
