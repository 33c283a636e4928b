"""States of compounds whose states are known; the doubles are from Vasala and Karppinen 2015, and from halides made."""

import re

import numpy as np
import pytest

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.candidates.space import parse_elements
from screening.chemistry.descriptors import columns
from screening.chemistry.oxidation import StateSet, states_text

SINGLE = {
    "12": (
        "CsAuCl3 CsTlF3 CsTlCl3 CsSnI3 CsPbI3 CsGeI3 TlMnF3 CsMnCl3 KCuF3 KCrF3 CsYbI3 CsEuCl3 CsTmI3 CsCuCl3 "
        "RbAgF3 CsAgF3 CsHgBr3"
    ),
    "15": "NaOsO3 AgNbO3 KIO3 KUO3 NaWO3 KTaO3 CuTaO3 TlTaO3",
    "24": (
        "CaTiO3 SrFeO3 PbTiO3 BaBiO3 EuTiO3 SrCoO3 CaMnO3 BaPrO3 BaTbO3 BaCeO3 BaPbO3 PbVO3 PbCrO3 SrRuO3 SrIrO3 "
        "SrVO3 CaVO3 SrCrO3 SrMoO3 SrNbO3 EuZrO3 BaZrS3 EuZrS3 BaUO3 CaIrO3 CaOsO3 SnTiO3 SrTcO3 CaCoO3 BaFeO3 "
        "MnSnO3 MnTiO3 SrTbO3"
    ),
    "33": (
        "LaFeO3 EuMnO3 EuFeO3 CeFeO3 LaCuO3 LaNiO3 LaMnO3 BiFeO3 BiMnO3 LaVO3 LaTiO3 LaCrO3 SmNiO3 LaRhO3 InMnO3 "
        "TlNiO3 BiNiO3 LaYS3 LaCoO3 LaRuO3 BiInO3 CeAlO3 CeVO3 PrNiO3"
    ),
    "36": "LaWN3",
}
"""Charges of A and B: compounds."""

DOUBLE = {
    "13": (
        "Cs2AgBiBr6 Cs2AgBiCl6 Cs2NaBiCl6 Cs2AgInCl6 Cs2NaInCl6 Cs2CuInCl6 Cs2AgTlBr6 Cs2AgTlCl6 Cs2AgSbCl6 "
        "Cs2CuSbCl6 Cs2AgFeCl6 Cs2AgCrCl6 Cs2NaFeCl6 Cs2KEuCl6 Cs2LiInCl6 Cs2AgAuCl6 Cs2KMnF6 Rb2KCrF6 Cs2KAgF6 "
        "K2NaNiF6 Cs2KCuF6 Cs2AgBiI6 Rb2AgInCl6 Cs2NaCeCl6 Cs2NaEuCl6 K2NaVF6 K2NaCoF6 Rb2NaTiF6 Cs2NaTiCl6 "
        "Cs2NaVCl6 Rb2KFeF6 Cs2CuBiCl6 Cs2AgGaCl6"
    ),
    "15": "La2LiSbO6 La2LiRuO6 La2NaRuO6 La2LiOsO6 La2NaOsO6 La2LiIrO6 La2LiMoO6 La2LiReO6",
    "17": "Ba2LiOsO6 Ba2NaOsO6 Ba2LiReO6 Ba2NaReO6 Ba2NaIO6 Ba2AgIO6",
    "24": (
        "La2NiMnO6 La2CoMnO6 La2MgTiO6 La2NiTiO6 La2CoTiO6 La2CoIrO6 La2NiIrO6 La2ZnIrO6 La2CuTiO6 La2CuSnO6 "
        "La2NiRuO6 La2CoRuO6 La2CuIrO6 La2MgMnO6 La2MnIrO6 La2MgIrO6 La2NiPtO6 La2ZnTiO6 Bi2NiMnO6 Y2NiMnO6 "
        "Lu2NiMnO6 La2FeTiO6 La2MgGeO6 La2MnTiO6 La2CuMnO6 La2NiVO6 La2MgSnO6 La2ZnRuO6 Pr2CoMnO6"
    ),
    "26": (
        "Sr2FeWO6 Sr2MnMoO6 Sr2MnWO6 Sr2CoMoO6 Sr2CoWO6 Sr2NiMoO6 Sr2NiWO6 Sr2CuWO6 Sr2NiReO6 Sr2MnReO6 Sr2CoReO6 "
        "Sr2CoOsO6 Sr2NiOsO6 Sr2NiTeO6 Ba2CoTeO6 Sr2CuTeO6 Sr2NiIrO6 Sr2CuOsO6 Ba2MnWO6 Ba2FeWO6 Ba2MgReO6 "
        "Sr2MgMoO6 Sr2ZnMoO6 Sr2CuMoO6 Sr2CuReO6 Sr2MnTeO6 Ba2NiUO6"
    ),
    "33": "La2CrFeO6 La2CrMnO6 La2FeMnO6 La2FeCoO6 La2NiFeO6 La2CrCoO6 La2FeGaO6 La2ScAlO6 La2VCrO6 La2FeVO6",
    "35": (
        "Ba2FeReO6 Sr2FeMoO6 Ca2FeMoO6 Ba2FeMoO6 Sr2CrMoO6 Sr2CrWO6 Sr2CrReO6 Sr2FeReO6 Sr2FeOsO6 Sr2CrOsO6 "
        "Sr2FeNbO6 Sr2FeTaO6 Sr2FeSbO6 Sr2ScOsO6 Sr2MnSbO6 Sr2VMoO6 Sr2FeRuO6 Sr2CoNbO6 Sr2MnNbO6 Sr2CoSbO6 "
        "Sr2FeIrO6 Sr2CoIrO6 Sr2YRuO6 Ba2YIrO6 Sr2CrSbO6 Sr2CrTaO6 Ba2BiSbO6 Ba2ErSbO6 Sr2CoRuO6 Pb2ScTaO6 "
        "Sr2VNbO6 Sr2RhSbO6 Ba2InTaO6 Sr2GaSbO6 Ba2PrRuO6 Ba2BiIrO6"
    ),
    "44": "Ba2CePtO6 Ba2CeSnO6",
}
"""Charges of B and B': compounds."""


def species_of(formula, prototype):
    """(1, n_sites) of a formula such as CaTiO3 or Cs2AgBiBr6."""
    *cations, x = (parse_elements(symbol)[0] for symbol in re.findall("[A-Z][a-z]?", formula))
    return np.array([[*cations, *[x] * (len(prototype.sites) - len(cations))]], dtype=np.uint8)


def states_of(formula, prototype=CUBIC_PEROVSKITE, states=StateSet()):  # noqa: B008  # frozen
    species = species_of(formula, prototype)
    return states_text(species[0], columns(species, prototype, states)["charges"][0])


@pytest.mark.parametrize(("charges", "formula"), [(q, f) for q, text in SINGLE.items() for f in text.split()])
def test_perovskites_have_the_states_that_are_known(charges, formula):
    found = columns(species_of(formula, CUBIC_PEROVSKITE))
    assert "".join(map(str, found["charges"][0, :2])) == charges
    assert found["redox"][0] >= -0.5


@pytest.mark.parametrize(("charges", "formula"), [(q, f) for q, text in DOUBLE.items() for f in text.split()])
def test_double_perovskites_have_the_states_that_are_known(charges, formula):
    found = columns(species_of(formula, DOUBLE_PEROVSKITE), DOUBLE_PEROVSKITE)
    assert "".join(map(str, sorted(found["charges"][0, 1:3]))) == charges
    assert found["redox"][0] >= -0.5


def test_states_are_written_out_and_mixed_valence_is_said():
    assert states_of("CaTiO3") == "Ca2+ Ti4+ O2-"
    assert states_of("BaBiO3") == "Ba2+ Bi3+/Bi5+ O2-"
    assert states_of("CsAuCl3") == "Cs+ Au+/Au3+ Cl-"
    assert states_of("Cs2AgBiBr6", DOUBLE_PEROVSKITE) == "Cs+ Ag+ Bi3+ Br-"
    assert states_of("Cs2InBiBr6", DOUBLE_PEROVSKITE) == "Cs+ In+ Bi3+ Br-"  # no Bi+
    assert states_of("Mn2VSbO6", DOUBLE_PEROVSKITE) == "Mn2+ V3+ Sb5+ O2-"  # no lone pair among oxides
    assert states_of("CsDyBr3") == "Cs+ Dy2+ Br-"
    assert states_of("NaTiO3") == ""


def test_mixed_valence_needs_an_element_alone_on_b():
    assert states_of("Cs2AgSnCl6", DOUBLE_PEROVSKITE) == "Cs+ Ag2+ Sn2+ Cl-"  # no Sn3+


@pytest.mark.parametrize("formula", ["Cs2NaCoCl6", "Cs2ScSmI6", "Cs2ScEuI6", "Cs2AgSnCl6", "Cs2NaTlI6", "Cs2NaCuBr6"])
def test_what_reacts_with_itself_is_found(formula):
    species = species_of(formula, DOUBLE_PEROVSKITE)
    found = columns(species, DOUBLE_PEROVSKITE)
    assert found["charge_balanced"].tolist() == [True]
    assert found["redox"][0] < -0.5


@pytest.mark.parametrize(
    ("formula", "reacts"), [("BiTiO3", True), ("BiVO3", False), ("BiFeO3", False), ("PbVO3", False)]
)
def test_cations_of_noble_metals_are_reduced_to_the_metal(formula, reacts):
    assert (columns(species_of(formula, CUBIC_PEROVSKITE))["redox"][0] < -0.5) == reacts


def test_silver_is_trivalent_in_fluorides_only():
    assert states_of("Cs2KAgF6", DOUBLE_PEROVSKITE) == "Cs+ K+ Ag3+ F-"
    assert states_of("Cs2NaAgCl6", DOUBLE_PEROVSKITE) == ""
    found = columns(species_of("Cs2NaAgCl6", DOUBLE_PEROVSKITE), DOUBLE_PEROVSKITE, StateSet("all"))
    assert found["redox"][0] == pytest.approx(1.36 - 1.90)


def test_a_set_decides_what_balances():
    assert states_of("SrFeO3", states=StateSet("common")) == ""
    assert states_of("SrFeO3", states=StateSet("own", ((26, (3,)),))) == ""
    assert states_of("LaFeO3", states=StateSet("own", ((26, (3,)),))) == "La3+ Fe3+ O2-"
