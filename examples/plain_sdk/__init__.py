"""An agent on the plain openai SDK: killed before its last answer, and resumed for one call."""
