"""An OpenAI-compatible server that is made only of stacks: it reads, routes and replies."""
