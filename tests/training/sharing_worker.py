"""A worker that shares a zoo: python sharing_worker.py CONFIG OUT LEASE [after N saved epochs: kill|stop] [ahead]"""

import os
import signal
import sys
import time

if "ahead" in sys.argv:  # its clocks are an hour ahead of the others'
    wall, steady = time.time, time.monotonic
    time.time, time.monotonic = lambda: wall() + 3600, lambda: steady() + 3600

import jax

jax.config.update("jax_num_cpu_devices", 2)
import jaxzoo  # noqa: E402

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def main(config, out, lease, after="-1", how="kill", *_):
    saved = []

    def act(event):
        saved.extend([event] if isinstance(event, jaxzoo.EpochSaved) else [])
        if isinstance(event, jaxzoo.EpochSaved) and len(saved) == int(after):
            print("stands", flush=True)
            os.kill(os.getpid(), SIGNALS[how])
        if isinstance(event, jaxzoo.Notice):
            print(event.text, flush=True)

    (spec,) = jaxzoo.read_config(config)
    try:
        jaxzoo.generate(spec, out, share=True, lease=float(lease), on_event=act)
    except jaxzoo.InputError as error:
        print(f"refused: {error}", flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
