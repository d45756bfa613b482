"""Measurements, of which docs/performance.md has the results.

Each is a command, run from the repository's root:

    python -m benchmarks.comparison          beside `SamModel` and its plain export: `make bench`
    python -m benchmarks.gpu                 what only a card can say: `make gpu`
    python -m benchmarks.load                perf_analyzer against a server: `make load`
    python -m benchmarks.clicks              clicks on kept pictures beside clicks with an embedding
    python -m benchmarks.overload            who is answered in time when too many users come
    python -m benchmarks.capacity            how many servers so many users need, and is that right
    python -m benchmarks.page                previews and clicks in the page, until they are seen
    python -m benchmarks.soak                answers while servers and models are killed
    python -m benchmarks.memory              what client and server hold, and whether it grows
    python -m benchmarks.wire                bytes that each call sends and receives
    python -m benchmarks.wire.shared_memory  what shared memory saves of them
    python -m benchmarks.busy_clicks         a click beside somebody else's everything mode
    python -m benchmarks.everything_masks    everything mode's masks by NumPy and by the graph
    python -m benchmarks.layers              where an OpenVINO artifact's time goes
    python -m benchmarks.forms               the gate's figures of every form and precision
    python -m benchmarks.tensorrt_graphs     what NVIDIA's builder makes of the graphs
    python -m benchmarks.attention_kernel    what the attention kernel is compiled to for each card

Files go to benchmarks/results. No benchmark imports from another, but the GPU's from the
comparison; what several of them need is in the modules beside this one.
"""
