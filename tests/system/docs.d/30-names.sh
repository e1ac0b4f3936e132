# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What the documents name is there.

links_lead_somewhere_pages_name_each_other_and_stand_ins_are_in_use() {
    docs.d/faults documents
}

every_man_page_is_well_formed_and_installed() {
    local source page said
    for source in ../../docs/*.scd; do
        page=$(basename "$source" .scd)
        echo "$page"
        # Of a page that cannot be broken into lines of 80 characters groff says so: long words, tables.
        said=$(scdoc <"$source" 2>&1 >"/run/$page")
        said+=$(groff -t -K utf8 -man -Tutf8 -rLL=200n -ww -z "/run/$page" 2>&1)
        rm "/run/$page"
        same "what scdoc and groff say" "$said" ""
        [ -s "/usr/share/man/man${page##*.}/$page" ]
    done
}

every_unit_option_verb_and_installed_file_that_is_named_exists() {
    docs.d/faults names
}
