"""Pictures: ``*_info`` computes, ``draw_*`` draws; values in, Figure out."""
