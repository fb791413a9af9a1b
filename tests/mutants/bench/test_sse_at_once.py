"""The tests of the parser of events, but for how its work grows.

That one takes most of the time, and says nothing of what the parser gives.
"""

from __future__ import annotations

from tests.providers import test_sse as sse


test_follows_the_standard = sse.test_follows_the_standard_however_the_bytes_are_cut
test_the_raw_bytes_together_are_the_stream = sse.test_the_raw_bytes_together_are_the_stream
test_every_way_to_cut_it_in_two = sse.test_every_way_to_cut_it_in_two
test_agrees_with_the_decoder = sse.test_agrees_with_the_decoder_of_the_openai_sdk
test_limits_hold_however_the_bytes_are_cut = sse.test_limits_hold_however_the_bytes_are_cut
test_the_defaults_are_one_and_four_mebibytes = sse.test_the_defaults_are_one_and_four_mebibytes
test_an_event_takes_no_more_room = sse.test_an_event_takes_no_more_room_than_its_bytes
