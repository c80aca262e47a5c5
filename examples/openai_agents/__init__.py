"""An agent on the OpenAI Agents SDK: killed before its last answer, and resumed for one call."""
