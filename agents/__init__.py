"""Sub-agents: narrow skills, each bound to one student. They write no traces."""
