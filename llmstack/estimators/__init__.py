"""Pure arithmetic that layers and routers share: averages, turns, draws, counts, guesses.

Nothing here knows a request, a clock or a loop: `now` and chance come in as numbers, times
and durations in seconds. What is read never changes what is counted. Import the modules.
"""
