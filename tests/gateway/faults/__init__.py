"""The catalogue of what can go wrong with a stream, as tables; `test_stream_faults` plays it."""

import pytest


pytest.register_assert_rewrite("tests.gateway.faults.judge")
