"""An app on Google ADK: killed before its last answer, and resumed for one call."""
