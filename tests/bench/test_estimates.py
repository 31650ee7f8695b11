"""Estimates read off compiled programs: what the parsers count, on short texts after real ones."""

import importlib.util
import subprocess
import sys

import pytest

from jaxzoo.bench import tpu
from jaxzoo.bench.gpu import work_of
from jaxzoo.bench.hlo import computations_of, executed
from jaxzoo.bench.tpu import Operation, operations
from jaxzoo.bench.traffic import instruction_of, shape_bytes
from jaxzoo.commands import bench
from jaxzoo.spec.twin_spec import TwinSpec

TPU = """HloModule jit_step

%body (p: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %fusion.1 = (f32[8,1]{1,0:T(8,128)S(1)}, f32[1]{0}) fusion(%x), {op_name="jit(f)/add"}, "estimated_cycles":"7"
}

%condition (p: (s32[], f32[8,128])) -> pred[] {
  %limit = s32[] constant(5)
}

%step_body (p: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %loop = (s32[], f32[8,128]) while(%t), condition=%condition, body=%body
  %copy = f32[8,128]{1,0} copy(%x), backend_config={"estimated_cycles":"2"}
}

%step_condition (p: (s32[], f32[8,128])) -> pred[] {
  %limit = s32[] get-tuple-element(%p), index=1
}

ENTRY %main (x: f32[8,128]) -> f32[8,128] {
  %fusion.2 = f32[8,128]{1,0} fusion(%x), kind=kLoop, backend_config={"estimated_cycles":"100"}
  %steps = (s32[], f32[8,128]) while(%t), condition=%step_condition, body=%step_body
}
"""

# shortened by hand from what JAX 0.10.2 compiles for an H100: a loop over kernel rows, inside of the one over steps
GPU = """HloModule jit_train, is_scheduled=true

%fused_add.2 (param_0.783: f32[10,3,4,256], param_1.615: f32[2,2,4,256], param_2.780: s32[]) -> f32[10,3,4,256] {
  %param_0.783 = f32[10,3,4,256]{3,2,1,0} parameter(0), metadata={scheduling_name="param_0.783"}
  %param_2.780 = s32[] parameter(2)
  %constant_1 = s32[] constant(0), metadata={op_name="jit(train)/while/body/closed_call" stack_frame_id=47}
  %param_1.615 = f32[2,2,4,256]{3,2,1,0} parameter(1)
  %bitcast.7 = f32[2,2,4,256]{3,2,1,0} bitcast(%param_1.615)
  %dynamic_slice.51.36 = f32[1,2,4,256]{3,2,1,0} dynamic-slice(%bitcast.7, %param_2.780, %constant_1, %constant_1, \
/*index=4*/%constant_1), dynamic_slice_sizes={1,2,4,256}
  %slice.3985.3 = f32[1,1,4,256]{3,2,1,0} slice(%dynamic_slice.51.36), slice={[0:1], [0:1], [0:4], [0:256]}
  %bitcast.81.3 = f32[4,256]{1,0} bitcast(%slice.3985.3)
  %mul.7600.3 = f32[10,3,4,256]{3,2,1,0} broadcast(%bitcast.81.3), dimensions={2,3}
  ROOT %add.3784.11 = f32[10,3,4,256]{3,2,1,0} add(%param_0.783, %mul.7600.3)
}

%fused_add.3 (param_0.9: s32[]) -> s32[] {
  %param_0.9 = s32[] parameter(0)
  %constant_2 = s32[] constant(1)
  ROOT %add.9 = s32[] add(%param_0.9, %constant_2)
}

%fused_update (param_0.1: f32[50,256], param_1.1: f32[1,256], param_2.1: s32[]) -> (f32[50,256], s8[256]) {
  %param_0.1 = f32[50,256]{1,0} parameter(0)
  %param_1.1 = f32[1,256]{1,0} parameter(1)
  %param_2.1 = s32[] parameter(2)
  %constant_3 = s32[] constant(0)
  %update.1 = f32[50,256]{1,0} dynamic-update-slice(%param_0.1, %param_1.1, %param_2.1, %constant_3)
  %bitcast.9 = f32[256]{0} bitcast(%param_1.1)
  %convert.1 = s8[256]{0} convert(%bitcast.9)
  ROOT %tuple.9 = (f32[50,256]{1,0}, s8[256]{0}) tuple(%update.1, %convert.1)
}

%region_3.8 (arg_tuple.34: (s32[], f32[10,3,4,256], f32[2,2,4,256])) -> pred[] {
  %arg_tuple.34 = (s32[], f32[10,3,4,256]{3,2,1,0}, f32[2,2,4,256]{3,2,1,0}) parameter(0)
}

%region_4.13 (arg_tuple.35: (s32[], f32[10,3,4,256], f32[2,2,4,256])) -> (s32[], f32[10,3,4,256], f32[2,2,4,256]) {
  %arg_tuple.35 = (s32[], f32[10,3,4,256]{3,2,1,0}, f32[2,2,4,256]{3,2,1,0}) parameter(0)
  %get-tuple-element.1 = s32[] get-tuple-element(%arg_tuple.35), index=0
  %get-tuple-element.2 = f32[10,3,4,256]{3,2,1,0} get-tuple-element(%arg_tuple.35), index=1
  %get-tuple-element.3 = f32[2,2,4,256]{3,2,1,0} get-tuple-element(%arg_tuple.35), index=2
  %loop_add_fusion.2 = f32[10,3,4,256]{3,2,1,0} fusion(%get-tuple-element.2, %get-tuple-element.3, \
%get-tuple-element.1), kind=kLoop, calls=%fused_add.2, backend_config={"operation_queue_id":"0","reification_cost":[\
{"end_to_end_cycles":2090.88,"exec_time_us":1.056,"compute_time_us":0.165,"memory_access_time_us":1.0,"name":""},\
{"end_to_end_cycles":0,"exec_time_us":1.052,"compute_time_us":0,"memory_access_time_us":0,"name":"sol"}],\
"device_type":"DEVICE_TYPE_INVALID"}
  %loop_add_fusion.3 = s32[] fusion(%get-tuple-element.1), kind=kLoop, calls=%fused_add.3, \
control-predecessors={%loop_add_fusion.2}, backend_config={"reification_cost":[{"end_to_end_cycles":1.98,\
"exec_time_us":0.001,"compute_time_us":0.001,"memory_access_time_us":0,"name":""}]}
  ROOT %tuple.2 = (s32[], f32[10,3,4,256]{3,2,1,0}, f32[2,2,4,256]{3,2,1,0}) tuple(%loop_add_fusion.3, \
%loop_add_fusion.2, %get-tuple-element.3)
}

%step_condition (p: (s32[], s32[])) -> pred[] {
  %compare.1 = pred[] compare(%get-tuple-element.8, %get-tuple-element.9), direction=LT
}

%step_body (p: (s32[], s32[])) -> (s32[], s32[]) {
  %while.357 = (s32[], f32[10,3,4,256]{3,2,1,0}, f32[2,2,4,256]{3,2,1,0}) while(%tuple.1), condition=%region_3.8, \
body=%region_4.13, backend_config={"known_trip_count":{"n":"2"}}
  %loop_update_fusion = (f32[50,256]{1,0}, s8[256]{0}) fusion(%a, %b, %c), kind=kLoop, calls=%fused_update, \
backend_config={"reification_cost":[{"exec_time_us":1e-01,"name":""}]}
  %cudnn-conv.1 = (f32[256]{0}, u8[16]{0}) custom-call(%b.1), custom_call_target="__cudnn$convForward"
}

ENTRY %main.135 (b.1: f32[1,256]) -> (s32[], s32[]) {
  %b.1 = f32[1,256]{1,0} parameter(0)
  %copy.1 = f32[1,256]{1,0} copy(%b.1)
  %while.355 = (s32[], s32[]) while(%tuple.3), condition=%step_condition, body=%step_body
}
"""


def test_cycles_are_counted_with_the_trips_of_the_loops_around_them():
    assert operations(TPU, steps=1000) == [
        Operation("fusion.1", "2 x f32[8,1]", "jit(f)/add", 5, 35),
        Operation("copy", "f32[8,128]", "", 1, 2),
        Operation("fusion.2", "f32[8,128]", "", pytest.approx(1 / 1000), pytest.approx(100 / 1000)),
    ]


def test_estimates_are_of_every_kind_of_cohort_and_of_twins_and_name_the_costliest_operations(monkeypatch, capsys):
    asked = []

    def compiled(key, engine, lanes, chip, twin):
        asked.append((key, engine, lanes, chip, twin))
        return {"engine": engine, "lanes": lanes, "cycles_per_sample": 100.0}, operations(TPU, steps=1000)

    monkeypatch.setattr(tpu, "estimate", compiled)
    command = "--tpu v5e --zoos digits --candidates 1 --kinds --twins variational-dropout --kernels 2"
    assert bench.main(command.split()) == 0
    assert len({key for key, *_ in asked}) == len(asked) == 4
    assert {each[3:] for each in asked} == {("v5e", TwinSpec())}
    printed = capsys.readouterr().out.splitlines()
    assert sum("tanh, adam, dropout, variational-dropout" in line for line in printed) == 2
    assert printed[1].split() == ["94.3", "fusion.1", "2", "x", "f32[8,1]", "jit(f)/add"]  # 35 of 37.1
    assert printed[3].startswith("cycles per sample")  # two operations each


def test_kernels_bytes_and_times_of_a_gpu_are_counted_with_the_trips_of_the_loops_around_them():
    work = work_of(GPU, steps=100)
    assert work.kernels == pytest.approx(2 * 2 + 1 + 1 / 100)
    assert work.library_calls == 1
    # the total is read and written, one of the two kernel rows is read, and the number of the row
    add = 4 * (2 * 10 * 3 * 4 * 256 + 2 * 4 * 256 + 1)
    count = 4 * 2
    # a row is written where it belongs, and as bytes; the other rows stay
    update = 4 * (256 + 1) + 4 * 256 + 256
    library = 4 * 256 + 4 * 256 + 16
    copy = 2 * 4 * 256
    assert work.bytes == pytest.approx(2 * (add + count) + update + library + copy / 100)
    assert work.microseconds == pytest.approx(2 * (1.056 + 0.001) + 0.1)


def test_lines_of_a_loop_carry_the_times_it_makes_in_a_step():
    times = {one.name: times for line, times in executed(computations_of(GPU), 100) if (one := instruction_of(line))}
    assert (times["loop_add_fusion.2"], times["loop_update_fusion"], times["copy.1"]) == (2, 1, 1 / 100)
    assert "add.3784.11" not in times  # inside of a kernel


@pytest.mark.parametrize(
    ("shape", "count"),
    [("f32[10,3]{1,0}", 120), ("pred[7]{0}", 7), ("bf16[]", 2), ("(s8[4]{0}, /*index=1*/u32[2,2]{1,0})", 20)],
)
def test_bytes_of_a_shape(shape, count):
    assert shape_bytes(shape) == count


BAD = {"unknown card": ("h99", "--gpu is 'h99', expected one of: h100")}
if not any(importlib.util.find_spec(name) for name in ("jax_cuda12_plugin", "jax_cuda13_plugin")):
    BAD["no plugin"] = ("h100", "--gpu: JAX's plugin for CUDA is not installed, expected the extra 'gpu-estimate'")


@pytest.mark.parametrize(("card", "message"), BAD.values(), ids=BAD)
def test_a_card_that_cannot_be_compiled_for_is_one_line_and_status_2(card, message):
    command = [sys.executable, "-m", "jaxzoo", "bench", "--gpu", card]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
