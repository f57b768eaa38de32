"""One module for each page of the viewer: reads its queries, answers with a template's facts."""
