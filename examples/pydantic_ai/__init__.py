"""An agent of Pydantic AI: killed before its last answer, and resumed for one call."""
