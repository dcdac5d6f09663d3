//! Stop words of the languages that tantivy has none for: articles, pronouns, prepositions, conjunctions, auxiliary verbs.
//!
//! A changed list changes what stored terms mean: words may only be added to a new version of the segment format.

use crate::schema::Language;
use tantivy::tokenizer::StopWordFilter;

const ARABIC: &str = "من في على إلى الى عن مع هذا هذه ذلك تلك هؤلاء الذي التي الذين هو هي هم هن أنا نحن أنت أنتم كان كانت \
     يكون تكون كانوا ليس ليست لا لم لن ما ماذا أن إن ان أو او و ثم لكن بل كل بعض قد لقد عند عندما حتى إذا اذا كما كيف \
     أين متى بين بعد قبل منذ غير سوى فقط أي به بها له لها لهم فيه فيها منه منها عليه عليها إليه إليها أيضا حيث";

const GREEK: &str = "ο η το οι τα του της των τον την τους τις ένας μια μία ένα ενός μιας και κι ή είτε αλλά όμως ότι πως που \
     να θα δεν μην μη για με σε από στο στη στην στον στα στους στις στου ως προς κατά μετά παρά αντί χωρίς αν εάν όταν όπως \
     είναι ήταν είμαι είσαι έχω έχει έχουν είχε εγώ εσύ αυτός αυτή αυτό αυτοί αυτές αυτά εκείνος εκείνη εκείνο μου σου μας σας \
     τι ποιος ποια ποιο πολύ πιο όλα όλοι κάθε πρέπει";

const ROMANIAN: &str = "a ai al ale am ar are aș ași au aveți avea avem acea aceasta această aceea acest acesta acestea acești \
     aceștia acel acela acele acelea acei aceia ca că care căreia cărora cărui ce cel cea cei cele cine cu când cât câte câți \
     cum da dacă dar de deci despre din după e ea ei ele el este eu era erau eram eși fi fie fiind fost iar în îi îl îmi își îți la \
     le li lor lui mai mă mi mea mei mele meu ne nici noi nostru noastră noștri nu o or ori pe pentru prin sa să săi sale sau său \
     se și sunt suntem sunteți spre sub te tu tău un una unei unor unui unul va vă vi voi vom vor vreo";

const TAMIL: &str = "ஒரு என்று மற்றும் இந்த இது என்ற கொண்டு என்பது பல ஆகும் அல்லது அவர் நான் உள்ள அந்த இவர் என முதல் என்ன இருந்து சில \
     என் போன்ற வேண்டும் வந்து இதன் அது அவன் தான் பலரும் என்னும் மேலும் பின்னர் கொண்ட இருக்கும் தனது உள்ளது போது என்றும் அதன் \
     தன் பிறகு அவர்கள் வரை அவள் நீ ஆகிய இருந்தது உள்ளன வந்த இருந்த மிகவும் இங்கு மீது ஓர் இவை இந்தக் பற்றி வரும் வேறு இரு இதில் \
     போல் இப்போது அவரது மட்டும் இந்தப் எனும் மேல் பின் சேர்ந்த ஆகியோர் எனக்கு இன்னும் அந்தப் அன்று ஒரே மிக அங்கு பல்வேறு விட்டு \
     பெரும் அதை பற்றிய உன் அதிக அந்தக் பேர் இதனால் அவை அதே ஏன் முறை யார் என்பதை எல்லாம்";

const TURKISH: &str = "acaba ama ancak artık aslında az bana bazı belki ben benden beni benim bile bir biri birkaç birçok birşey \
     biz bizden bize bizi bizim bu buna bunda bundan bunlar bunları bunların bunu bunun burada çok çünkü da daha dahi de defa değil \
     diye dolayı eğer en gibi göre hangi hatta hem henüz hep hepsi her herkes hiç hiçbir için ile ise işte kadar karşın kendi kez ki \
     kim kime kimi mı mi mu mü nasıl ne neden nerede nereye niçin niye o olan olarak oldu olduğu olduğunu olsa ona ondan onlar \
     onlardan onlara onları onların onu onun oysa pek rağmen sanki sen senden seni senin siz sizden sizi sizin şey şu şuna şunu \
     tarafından tüm ve veya ya yani yerine yine yoksa zaten";

/// The words of a language, if tantivy has none.
fn words(language: Language) -> Option<&'static str> {
    match language {
        Language::Arabic => Some(ARABIC),
        Language::Greek => Some(GREEK),
        Language::Romanian => Some(ROMANIAN),
        Language::Tamil => Some(TAMIL),
        Language::Turkish => Some(TURKISH),
        _ => None,
    }
}

/// Drops the stop words of a language; `theirs` is tantivy's name of it.
pub(super) fn filter(language: Language, theirs: tantivy::tokenizer::Language) -> Option<StopWordFilter> {
    let ours = words(language).map(|words| StopWordFilter::remove(words.split_whitespace().map(str::to_string)));
    ours.or_else(|| StopWordFilter::new(theirs))
}
